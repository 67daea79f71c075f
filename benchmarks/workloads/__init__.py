"""The workloads, one file each. A file defines `WORKLOAD`, an object of the protocol in `benchmarks.workload`."""
