"""From findings to what people and machines read: one document, many writers."""
