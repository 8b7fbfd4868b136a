//! What opens every wire: the banners of both sides, and the client's label.
