//! The data plane: reads splits, collects, sorts and spills records, merges and reduces them.
