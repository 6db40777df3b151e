"""`batuta def export --target`: definitions for other servers than this one."""
