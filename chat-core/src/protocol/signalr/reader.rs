//! placeholder
/// placeholder
#[derive(Debug)]
pub struct RecordReader;
