//! How much room the disk has, and the watermark below which writes are refused.
