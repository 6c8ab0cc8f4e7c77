"""The TRAK library's classes, on our gradients."""
