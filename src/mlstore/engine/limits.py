"""Sizes at which the engine changes its ways. Read as `limits.NAME` at the time of use, so that a test can make them small."""

import os

TAIL_ROWS = 1 << 16  # a tail of this many rows is sealed into a segment
TAIL_BYTES = 1 << 24  # ... or of this many bytes
DIRECT_ROWS = 1 << 12  # a write of at least this many rows goes straight to segments
BATCH_ROWS = 1 << 14  # rows of more dicts than this go through Arrow; a stream or consumer takes no larger batch
SEGMENT_ROWS = 1 << 18  # rows of a full segment: an 8-byte column fills 2 MiB
SEGMENT_COLUMN_BYTES = 1 << 24  # no column of a segment is planned to exceed this
RECENT_COMMITS = 8  # commits that lie beside the counters before they move on to where they stay
FANOUT = 8  # runs of a level before they are merged into one of the next
CHUNK_BYTES = 1 << 27  # a stream is cut into sorted runs of about this size
STAGE_BYTES = 1 << 25  # bytes of one staging transaction of a bulk load
DECODED_BYTES = 1 << 28  # unpacked columns of cold segments kept in memory per process
WRITE_THREADS = 2  # threads that build the segments of a bulk load; one more hands them to the disk
OPEN_SEGMENTS = 4096  # segments a process keeps open
POINT_KEYS = 256  # up to this many keys are looked up in the tail one by one
READ_THREADS = min(8, os.cpu_count() or 1)  # threads of one large training set
PARALLEL_ROWS = 1 << 15  # rows from which more than one thread pays
LABEL_ROWS = 1 << 20  # labels answered at a time
WINDOW_EVENTS = 1 << 20  # events that windows look at together, where one key has not more
WINDOW_STRETCH = 1 << 15  # events of neighbouring keys in one segment from which they are looked at where they lie
TILE_LEAF = 64  # events of a key in a stretch of time that a node of its tiles holds as they are
TILE_KEYS = 1 << 10  # up to this many keys are answered from tiles, one by one; more from their events, all together
TILE_TOUCHED = 1 << 12  # keys whose tiles one write makes anew; where rows of more are hidden, they are left to be filled in
TILE_ROWS = 1 << 17  # rows that one write adds to tiles at once; of larger ones they catch up in transactions of their own
TILE_STEP_KEYS = 1 << 10  # keys whose tiles catch up in each commit meanwhile
TILE_WAITING = 32  # writes whose events wait beside the trees of tiles before they are put into them
TILE_WAITING_EVENTS = 1 << 14  # ... or so many events
TILE_WAITING_OF_KEY = 1 << 8  # ... or, perhaps, so many of one key: a reader puts them into its tree each time
SORTED_ASKS = 64  # labels a key has on average from which they are put in order of time
MAX_LAYERS = 8  # a branch that would see more lines than this is merged into by copying, not by moving on to another line
TAKEN_ROWS = 1 << 16  # rows of an ancestor up to which a line takes them over, so that it need not look there
WASTE = 20  # a segment is written anew for the rows that may leave it if they are at least one in so many
GRACE_US = 14 * 24 * 3600 * 1_000_000  # how long what a branch left behind stays readable
