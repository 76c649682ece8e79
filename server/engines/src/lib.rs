//! Every secrets engine there is.
