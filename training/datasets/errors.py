"""What can be wrong with labelled data, each with a code; messages name rows and columns only.

DatasetError                    code "dataset_invalid"
 ├─ ManifestMissingError        code "manifest_missing"
 ├─ ManifestUnreadableError     code "manifest_unreadable"
 ├─ NewerManifestError          code "manifest_newer_version"
 ├─ ManifestColumnError         code "manifest_columns"
 ├─ ManifestValueError          code "manifest_values"
 ├─ ManifestChecksError         code "manifest_checks_failed"
 ├─ SourceLayoutError           code "source_layout"
 ├─ LabelTableError             code "label_table"
 ├─ MaskError                   code "mask_unreadable"
 └─ KeyMissingError             code "pseudonym_key_missing"   exit code 2
"""

from __future__ import annotations

from typing import ClassVar

from models.errors import AcuityError


class DatasetError(AcuityError):
    """Labelled data that cannot be used as it is."""

    code = "dataset_invalid"


class ManifestMissingError(DatasetError):
    """There is no file at the manifest's path."""

    code = "manifest_missing"


class ManifestUnreadableError(DatasetError):
    """The file is not a table: cut short, of another kind, or without rows."""

    code = "manifest_unreadable"


class NewerManifestError(DatasetError):
    """The manifest was written by a newer version, whose columns may mean something else."""

    code = "manifest_newer_version"


class ManifestColumnError(DatasetError):
    """A column that must be there is missing, or one is there that is not known."""

    code = "manifest_columns"


class ManifestValueError(DatasetError):
    """A value that its column cannot hold."""

    code = "manifest_values"


class ManifestChecksError(DatasetError):
    """The manifest was read, and its checks found errors."""

    code = "manifest_checks_failed"


class SourceLayoutError(DatasetError):
    """A folder is not laid out as its source publishes it."""

    code = "source_layout"


class LabelTableError(DatasetError):
    """A site's own table of labels lacks a column or holds a value that is not understood."""

    code = "label_table"


class MaskError(DatasetError):
    """A mask that cannot be read, or whose values nobody has explained."""

    code = "mask_unreadable"


class KeyMissingError(DatasetError):
    """No key is set, so patients would be split differently every time."""

    code = "pseudonym_key_missing"
    exit_code: ClassVar[int] = 2
