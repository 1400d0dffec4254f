"""Runs of a plan: tasks of one tile and month, on this machine or on others.

`run` hands the tasks of a plan to `workers`, those of a tile to one worker (`task_queue`). A worker makes a task day by
day (`task`): read, predict, write COGs, verify, publish. `memory` sets the size of blocks, `cost` estimates, `run_log`
keeps what happened to each task, `status` reads it back.
"""
