"""The care of a file: upkeep, tiers, compaction, forgetting, the audit chain, and what a file tells about itself.

Changes where rows lie, never what they answer; only forgetting takes rows away, and says so in the audit.
"""
