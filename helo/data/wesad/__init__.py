"""WESAD: chest and wrist signals of 15 people in five conditions, with their self-reports.

Source: Schmidt, Reiss, Duerichen, Marberger, Van Laerhoven, "Introducing WESAD, a multimodal dataset for
wearable stress and affect detection", ICMI 2018, doi:10.1145/3242969.3242985. For research use only.
The readers take the official download (``SX/SX.pkl`` and ``SX/SX_quest.csv``, in a folder or a zip file), or a
table ``windows.csv`` of features beside the questionnaires.
"""

from helo.data.wesad.download import DownloadSettings, is_download, read_download
from helo.data.wesad.feature_table import read_feature_table
from helo.data.wesad.items import CONDITIONS, ITEM_SETS, ITEMS, parse_items
from helo.data.wesad.schema import DEVICES, MODALITIES

__all__ = [
    "CONDITIONS",
    "DEVICES",
    "ITEMS",
    "ITEM_SETS",
    "MODALITIES",
    "DownloadSettings",
    "is_download",
    "parse_items",
    "read_download",
    "read_feature_table",
]
