use std::io;

/// A connection to a browser that never waits: what cannot be done now is [`io::ErrorKind::WouldBlock`].
pub trait Socket {
    /// Takes bytes the browser sent; 0 at the end.
    ///
    /// # Errors
    /// The connection broke, or nothing is there.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Hands bytes over; says how many were taken.
    ///
    /// # Errors
    /// The connection broke, or nothing can be taken.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Pushes on what was taken and is still here, as encryption leaves it.
    ///
    /// # Errors
    /// The connection broke, or nothing can be taken.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Says that nothing more will be written; what cannot be said now is left unsaid.
    ///
    /// # Errors
    /// The connection broke.
    fn finish(&mut self) -> io::Result<()>;
}
