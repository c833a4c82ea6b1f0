"""Ways to damage files and folders of files: bits, cuts, splices, and edits that fit a format's own checks again."""

import contextlib
import json
import zipfile

import numpy as np

NUMBERS = [-1, 0, 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**64, 2**100, 1e308, 0.5, None, True, "x", [], {}, [-1]]


# Mutations: each takes the bytes of a file and changes them.


def flip_bits(data, rng):
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def truncate(data, rng):
    del data[rng.randrange(len(data)) :]


def splice(data, rng):
    start = rng.randrange(len(data))
    data[start : start + rng.choice([0, 1, 8, 64])] = rng.randbytes(rng.choice([1, 8, 64, 512]))


def repeat_block(data, rng):
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.choice([1, 16, 512])]


def remove_block(data, rng):
    start = rng.randrange(len(data))
    del data[start : start + rng.choice([1, 16, 512])]


def zero_range(data, rng):
    start = rng.randrange(len(data))
    size = min(rng.choice([1, 8, 64, 4096]), len(data) - start)
    data[start : start + size] = bytes([rng.choice([0, 255])]) * size


def edit_header(data, rng):
    """What a file begins or ends with is where formats keep what they say about themselves."""
    start = rng.randrange(min(256, len(data)))
    start = rng.choice([start, len(data) - 1 - start])
    data[start : start + 8] = rng.choice([2**63 - 1, 2**64 - 1, 2**31, 0, 2**40]).to_bytes(8, "little")


MUTATIONS = [flip_bits, truncate, splice, repeat_block, remove_block, zero_range, edit_header]


def edit_json(path, rng):
    value = json.loads(path.read_text())
    node = value
    while True:
        key = rng.choice(sorted(node)) if isinstance(node, dict) else rng.randrange(len(node))
        if not (isinstance(node[key], dict | list) and node[key]) or rng.random() < 0.4:
            break
        node = node[key]
    action = rng.randrange(4)
    if action == 0 and isinstance(node, dict):
        del node[key]
    elif action == 1:
        node[key] = {"a": node[key]}
    elif action == 2:
        node[key] = "\ud800\0../" * rng.choice([1, 10**5])
    else:
        node[key] = rng.choice(NUMBERS)
    path.write_text(json.dumps(value) if rng.random() < 0.95 else "[" * 10**6)


def edit_arrays(arrays, rng):
    """Change one array of a dictionary of them: its type, its shape or its values."""
    name = rng.choice(sorted(arrays))
    array = np.array(arrays[name])
    action = rng.randrange(8)
    if action == 0:
        array = array.astype(rng.choice([np.float16, np.float64, np.int8, np.uint64, np.bool_, np.complex64, "S4"]))
    elif action == 1:
        array = array[: rng.randrange(len(array) + 1)] if array.ndim else array[None]
    elif action == 2:
        array = array[..., None] if rng.random() < 0.5 else array.reshape(-1)
    elif action == 3:
        array = np.zeros(rng.choice([(0,), (2**40, 0), (3, 0, 4), ()]), array.dtype)
    elif action == 4:
        array = array.astype(float)
        array.flat[rng.randrange(max(array.size, 1)) :] = rng.choice([np.nan, np.inf, 1e308, -1e300])
    elif array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(array.dtype)
        values = [limits.min, limits.max, 10**6, array.size, array.size - 1, 0]
        array = array.copy()
        array.flat[rng.randrange(array.size)] = np.clip(rng.choice(values), limits.min, limits.max)
    else:
        del arrays[name]
        return
    arrays[name] = array


def edit_member(path, rng):
    """Damage an array behind the checksum of the archive, which fits again."""
    with zipfile.ZipFile(path) as archive:
        members = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    data = members[rng.choice(sorted(members))]
    rng.choice(MUTATIONS)(data, rng)
    with zipfile.ZipFile(path, "w") as archive:
        for name, each in members.items():
            archive.writestr(name, bytes(each), rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


def edit_npz(path, rng):
    if rng.random() < 0.5:
        edit_member(path, rng)
        return
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    edit_arrays(arrays, rng)
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def edit_hdf5(path, rng):
    import h5py

    with h5py.File(path, "a") as file:
        places = []
        file.visititems(lambda name, node: places.append(name) if isinstance(node, h5py.Dataset) else None)
        place = rng.choice(sorted(places))
        if rng.random() < 0.1:
            shape = rng.choice([(2**50,), (2**30, 2**30), (10**9, 32, 32, 3)])
            del file[place]
            file.create_dataset(place, shape, "u1", chunks=tuple(min(n, 64) for n in shape), compression="gzip")
            return
        if file[place].dtype.kind not in "biuf":
            del file[place]
            return
        arrays = {place: file[place][()]}
        edit_arrays(arrays, rng)
        del file[place]
        if place in arrays:
            file[place] = arrays[place]


def edit_parquet(path, rng):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    names = [name for name in table.column_names if not name.startswith("stats")]
    arrays = {name: np.array(table.column(name).to_pylist()) for name in names}
    edit_arrays(arrays, rng)
    columns = {name: array.tolist() for name, array in arrays.items() if array.ndim}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


STRUCTURED = {".npz": edit_npz, ".json": edit_json, ".h5": edit_hdf5, ".hdf5": edit_hdf5, ".parquet": edit_parquet}


def disturb_folder(folder, rng):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path, other = rng.sample(files, 2)
    action = rng.randrange(4)
    if action == 0:
        path.unlink()
    elif action == 1:
        content = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
    elif action == 2:
        path.unlink()
        path.symlink_to(rng.choice(["/etc/hostname", "/dev/zero", path.name, other]))
    else:
        path.unlink()
        path.mkdir()


def mutate(place, rng):
    """Damage a file, or a file of a folder, in one of all these ways, now and then in two."""
    for _ in range(rng.choice([1, 1, 1, 2])):
        if place.is_dir() and rng.random() < 0.2:
            disturb_folder(place, rng)
            return
        files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
        path = rng.choice(files)
        if path.suffix in STRUCTURED and rng.random() < 0.5:
            with contextlib.suppress(Exception):  # what was damaged before may not be edited any more
                STRUCTURED[path.suffix](path, rng)
            continue
        data = bytearray(path.read_bytes())
        if data:
            rng.choice(MUTATIONS)(data, rng)
            path.write_bytes(data)
