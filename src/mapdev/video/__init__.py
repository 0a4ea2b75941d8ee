"""Pictures for video devices: where they come from, and their bytes in each pixel format.

A *source* gives one picture after another, as NumPy arrays of RGB (`sources`, `pattern`, `movie`).
`adjust` does to it what a camera's controls do. `pixels` and `yuv` convert it to the formats of
V4L2 and back. `renderer` puts these together and converts only rows that have changed. `clock` says
when the next picture is due, and lets a test hold the time.

Nothing here knows V4L2's calls, a driver or a host. It needs NumPy, which is an optional dependency
(``pip install 'mapdev[camera]'``), so drivers import it in `probe`.
"""
