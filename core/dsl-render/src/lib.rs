//! Views of meshes: files, cameras, a rasteriser, and the camera protocols of multi-view papers.
