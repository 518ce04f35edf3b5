"""Integer regions: values that go as integers from one kernel to the next, on engines whose kernels write integers."""
