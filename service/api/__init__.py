"""The REST interface: a thin layer that receives studies and hands out what the jobs made."""

from service.api.app import create_app

__all__ = ["create_app"]
