//! Files of the host that the engine reads: nothing of ours.
