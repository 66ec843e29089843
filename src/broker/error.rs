//! Why a node does not start, or had to stop.

/// Why a node could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The operating system refused something; the text says what, and what to do.
    #[error("{0}: {1}")]
    Io(String, #[source] std::io::Error),
    /// The data directories could not be used.
    #[error(transparent)]
    Storage(#[from] ringlog_storage::StorageError),
    /// The metadata log holds something this version cannot take over.
    #[error("the metadata log: {0}")]
    Metadata(String),
    /// No log directory is left, or the one with the metadata log failed.
    #[error("{0}")]
    NoLogDirectory(String),
    /// A setting asks for what cannot be had.
    #[error("{0}")]
    Setting(String),
}

impl NodeError {
    /// Whether there is no log directory to run on: the disks need somebody, not the settings.
    pub fn is_without_directory(&self) -> bool {
        match self {
            NodeError::NoLogDirectory(_) => true,
            NodeError::Storage(error) => error.is_without_directory(),
            _ => false,
        }
    }
}
