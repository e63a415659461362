//! Two-dimensional Gaussian mixtures with closed-form scores.
