"""Run a command's entry function in this process, as its tests do."""


def run_command(main, capsys, *arguments):
    """Exit status, standard output and standard error of `main` with some arguments."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err
