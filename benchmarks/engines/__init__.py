"""The rivals, one file each. A file defines `Engine`; a workload says which methods it asks of one."""
