"""appfwctl: parser, commands and rendering, each apart."""
