"""The lab: eight exercises, each a driver to finish, and a check that says what is missing.

`command` is `mapdev lab`, `exercises` lists them; `session` has a student's driver served to small
programs and notes what it does; a module of `checks` for each exercise asks its questions in order
and names the usual mistakes, by what `mistakes` knows of them. `start` holds the files with which
each exercise begins: a driver with gaps, and a program that uses it. The pages are docs/lab.
"""
