"""The C++ library: building, loading, layouts and plans that inference and training share."""
