"""Callbacks for other trainers. Each imports its trainer when it is used, never before."""
