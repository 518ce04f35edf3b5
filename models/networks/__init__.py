"""Networks that packages ship, with the data that they are made for; a file for each kind of data."""

from models.networks.pictures import PICTURES
from models.networks.printed import PRINTED
from models.networks.sentences import SENTENCES
from models.networks.sounds import SOUNDS

NETWORKS = {one.name: one for one in (*PICTURES, *PRINTED, *SENTENCES, *SOUNDS)}
"""By their task and architecture."""
