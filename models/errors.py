"""The one exception tree of the product.

    AcuityError                   code "internal"
     ├─ GeometryError             code "geometry"
     ├─ BundleError               code "bundle_invalid"       exit code 4
     │   ├─ BundleMissingError    code "bundle_missing"       exit code 4
     │   └─ VersionTakenError     code "bundle_version_taken" exit code 4
     └─ (service.ingest.refusals)  refusals of files, stacks and studies

`code` is public: clients and dashboards match on it. Messages never hold patient data.
"""

from __future__ import annotations

from typing import ClassVar


class AcuityError(Exception):
    """Base of every error this product raises on purpose."""

    code: ClassVar[str] = "internal"


class GeometryError(AcuityError):
    """Orientation, spacing or position that cannot describe a volume in patient space."""

    code = "geometry"


class BundleError(AcuityError):
    """A model bundle that is damaged or does not say what it must."""

    code = "bundle_invalid"


class BundleMissingError(BundleError):
    """A model bundle that is not in any bundle folder."""

    code = "bundle_missing"


class VersionTakenError(BundleError):
    """A version under which a folder of bundles already holds another bundle."""

    code = "bundle_version_taken"
