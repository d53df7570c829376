"""What every painter shares: tissues, the fine grid under the slices, compiled kernels."""
