"""The REST interface: a thin layer that receives studies and hands out what the jobs made."""
