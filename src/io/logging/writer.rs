//! The thread that writes to stderr, and the bounded queue in front of it.
//!
//! Who has something to say puts it into the queue and goes on; only this thread ever waits
//! for stderr. A disk that is full, a pipe whose reader is gone or stands still, a terminal
//! that was stopped with Ctrl-S: each costs lines of the log, and nothing else. What was lost
//! is counted, and said with the next line that can be written.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::Level;

use super::Style;
use crate::io::os::lock;

/// Upper bound on what waits for stderr, in bytes: enough for the burst of lines of all files
/// that are in hand at a time (some thousands), little beside what else a process needs.
const QUEUE_MAX: usize = 1 << 20;
/// What a queued line costs beside its text, in bytes.
const LINE_COST: usize = 48;
/// Interval between two tries to write to a stderr that another process made non-blocking.
const PAUSE: Duration = Duration::from_millis(20);
/// Interval between two drawings of the footer.
const FOOTER_EVERY: Duration = Duration::from_millis(100);

/// What stays below the lines of the log on a terminal: a progress bar. Drawn by the writer's
/// thread alone, so that nobody else ever waits for the terminal.
pub trait Footer: Send {
    /// Draws how things stand.
    fn draw(&mut self);
    /// Calls `write`, which writes lines, without disturbing what is drawn.
    fn aside(&mut self, write: &mut dyn FnMut());
    /// Takes what is drawn off the terminal.
    fn clear(&mut self);
}

/// Where lines are put to be written. Clones write to the same place.
#[derive(Clone)]
pub struct LogWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// The queue has something for the thread.
    filled: Condvar,
    /// The thread has written all there was.
    written: Condvar,
}

#[derive(Default)]
struct Queue {
    orders: VecDeque<Order>,
    /// What `orders` cost, in bytes.
    size: usize,
    /// How many lines found no room since the last one that did.
    dropped: u64,
    /// The thread is at an order that it has taken out.
    is_busy: bool,
}

enum Order {
    Line(Line),
    Footer(Option<Box<dyn Footer>>),
}

/// A line with its end.
struct Line {
    text: String,
    /// How many lines before it found no room in the queue.
    dropped_before: u64,
}

impl LogWriter {
    /// Starts the thread, which writes to `out`. It lives as long as the process.
    ///
    /// # Errors
    /// The system's, if it gives the process no more threads.
    pub fn start(out: Box<dyn Write + Send>, style: Style) -> io::Result<LogWriter> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("log".into())
            .stack_size(512 * 1024)
            .spawn(move || write_all_orders(&of_thread, Output::new(out, style)))?;
        Ok(LogWriter(shared))
    }

    /// Has a line written that ends with its line end. Never waits: where the queue is full,
    /// the line is dropped, and counted.
    pub fn line(&self, text: String) {
        let mut queue = self.0.lock();
        let cost = text.len() + LINE_COST;
        if queue.size + cost > QUEUE_MAX {
            queue.dropped += 1;
            return;
        }
        let dropped_before = std::mem::take(&mut queue.dropped);
        queue.size += cost;
        queue.orders.push_back(Order::Line(Line {
            text,
            dropped_before,
        }));
        self.0.filled.notify_one();
    }

    /// Draws `footer` below all lines from now on; `None` ends that.
    pub fn footer(&self, footer: Option<Box<dyn Footer>>) {
        self.0.lock().orders.push_back(Order::Footer(footer));
        self.0.filled.notify_one();
    }

    /// Waits until all that was said is written, but no longer than `bound`.
    pub fn flush(&self, bound: Duration) {
        let until = Instant::now() + bound;
        let mut queue = self.0.lock();
        while queue.is_busy || !queue.orders.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.written.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogWriter")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// The next order; `None` after `bound` without one.
    fn next(&self, bound: Option<Duration>) -> Option<Order> {
        let mut queue = self.lock();
        queue.is_busy = false;
        if queue.orders.is_empty() {
            self.written.notify_all();
        }
        while queue.orders.is_empty() {
            queue = match bound {
                None => self
                    .filled
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(bound) => {
                    let waited = self.filled.wait_timeout(queue, bound);
                    let (queue, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() && queue.orders.is_empty() {
                        return None;
                    }
                    queue
                }
            };
        }
        let order = queue.orders.pop_front()?;
        if let Order::Line(line) = &order {
            queue.size -= line.text.len() + LINE_COST;
        }
        queue.is_busy = true;
        Some(order)
    }
}

/// What the thread does.
fn write_all_orders(shared: &Shared, mut output: Output) {
    let mut footer: Option<Box<dyn Footer>> = None;
    loop {
        match shared.next(footer.is_some().then_some(FOOTER_EVERY)) {
            Some(Order::Line(line)) => match &mut footer {
                None => output.write(&line),
                Some(footer) => footer.aside(&mut || output.write(&line)),
            },
            Some(Order::Footer(next)) => {
                if let Some(last) = &mut footer {
                    last.clear();
                }
                footer = next;
            }
            None => {}
        }
        if let Some(footer) = &mut footer {
            footer.draw();
        }
    }
}

/// Where lines go, with what went wrong there.
struct Output {
    out: Box<dyn Write + Send>,
    style: Style,
    /// How many lines were lost since one could be written.
    lost: u64,
    /// The last line that was written lacks its end.
    is_torn: bool,
}

impl Output {
    fn new(out: Box<dyn Write + Send>, style: Style) -> Output {
        Output {
            out,
            style,
            lost: 0,
            is_torn: false,
        }
    }

    /// Writes a line in one call, so that a reader sees it whole, with what must be said before it.
    fn write(&mut self, line: &Line) {
        self.lost += line.dropped_before;
        let mut text = String::new();
        if self.is_torn {
            text.push('\n');
        }
        if self.lost > 0 {
            let lines = if self.lost == 1 { "line" } else { "lines" };
            let notice = format!("{} {lines} of the log could not be written", self.lost);
            text += &self.style.line(Level::Warn, "dirpost", &notice);
        }
        let before = text.len();
        text += &line.text;
        let (written, result) = write_whole(&mut self.out, text.as_bytes());
        if written > 0 {
            self.is_torn = !text.as_bytes()[..written].ends_with(b"\n");
        }
        if written >= before {
            self.lost = 0;
        }
        if result.is_err() {
            self.lost += 1;
        }
    }
}

/// Writes all of `bytes`, and says how many were written before an error. Waits, for as long as
/// it takes, where another process has made the other end's description non-blocking.
fn write_whole(out: &mut dyn Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(err) => return (written, Err(err)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// What a scripted stderr does with one call.
    enum Answer {
        Take,
        TakeOnly(usize),
        Refuse(io::ErrorKind),
        /// Stands still until it is told to go on.
        Hang(Receiver<()>),
    }

    /// A stderr that does what its script says, and takes everything behind its end.
    struct Scripted {
        script: VecDeque<Answer>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = match self.script.pop_front().unwrap_or(Answer::Take) {
                Answer::Take => bytes.len(),
                Answer::TakeOnly(count) => count,
                Answer::Refuse(kind) => return Err(kind.into()),
                Answer::Hang(go_on) => {
                    let _ = go_on.recv();
                    bytes.len()
                }
            };
            self.taken.lock().unwrap().extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const BOUND: Duration = Duration::from_secs(60);

    fn writer(script: Vec<Answer>) -> (LogWriter, Arc<Mutex<Vec<u8>>>) {
        let taken = Arc::default();
        let out = Scripted {
            script: script.into(),
            taken: Arc::clone(&taken),
        };
        let writer = LogWriter::start(Box::new(out), Style::Priority).unwrap();
        (writer, taken)
    }

    fn text(taken: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(taken.lock().unwrap().clone()).unwrap()
    }

    fn say(writer: &LogWriter, text: &str) {
        writer.line(format!("{text}\n"));
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_said_with_the_next_line_that_can() {
        let full = || Answer::Refuse(io::ErrorKind::StorageFull);
        let (writer, taken) = writer(vec![Answer::Take, full(), full(), Answer::Take]);
        for number in 1..=5 {
            say(&writer, &number.to_string());
        }
        writer.flush(BOUND);
        assert_eq!(
            text(&taken),
            "1\n<4>2 lines of the log could not be written\n4\n5\n"
        );
    }

    #[test]
    fn a_line_that_was_written_in_part_gets_its_end_before_the_next() {
        let full = || Answer::Refuse(io::ErrorKind::StorageFull);
        let (writer, taken) = writer(vec![Answer::TakeOnly(3), full(), full(), Answer::Take]);
        for line in ["torn", "lost", "whole"] {
            say(&writer, line);
        }
        writer.flush(BOUND);
        assert_eq!(
            text(&taken),
            "tor\n<4>2 lines of the log could not be written\nwhole\n"
        );
    }

    #[test]
    fn interrupted_and_partial_writes_lose_nothing() {
        let again = |kind| Answer::Refuse(kind);
        let (writer, taken) = writer(vec![
            again(io::ErrorKind::Interrupted),
            Answer::TakeOnly(1),
            again(io::ErrorKind::WouldBlock),
        ]);
        say(&writer, "abc");
        writer.flush(BOUND);
        assert_eq!(text(&taken), "abc\n");
    }

    /// A writer whose stderr stands still at its first line, and what lets it go on.
    fn hanging() -> (LogWriter, Arc<Mutex<Vec<u8>>>, Sender<()>) {
        let (go_on, wait) = channel();
        let (writer, taken) = writer(vec![Answer::Hang(wait)]);
        (writer, taken, go_on)
    }

    #[test]
    fn a_reader_that_stands_still_holds_nobody_up_and_the_queue_is_bounded() {
        let (writer, taken, go_on) = hanging();
        say(&writer, "first");
        while !writer.0.lock().is_busy {
            thread::yield_now();
        }
        let line = "x".repeat(999);
        let count = 3 * QUEUE_MAX / 1000;
        // Not one of these calls may wait for the reader.
        for _ in 0..count {
            say(&writer, &line);
        }
        assert!(writer.0.lock().size <= QUEUE_MAX);
        drop(go_on);
        writer.flush(BOUND);
        let kept = text(&taken).lines().count() - 1;
        assert!(kept > QUEUE_MAX / 1100 && kept < count, "{kept}");
        say(&writer, "back");
        writer.flush(BOUND);
        let lost = count - kept;
        let notice = format!("<4>{lost} lines of the log could not be written");
        assert_eq!(
            text(&taken).lines().skip(1 + kept).collect::<Vec<_>>(),
            [notice.as_str(), "back"]
        );
    }

    #[test]
    fn a_flush_waits_for_a_reader_that_stands_still_only_up_to_its_bound() {
        let (writer, taken, go_on) = hanging();
        say(&writer, "a");
        let started = Instant::now();
        writer.flush(Duration::from_millis(50));
        assert!(started.elapsed() < BOUND && text(&taken).is_empty());
        drop(go_on);
        writer.flush(BOUND);
        assert_eq!(text(&taken), "a\n");
    }

    /// Notes what is asked of it among what is written.
    struct Noted(Arc<Mutex<Vec<u8>>>, Sender<()>);

    impl Noted {
        fn note(&self, text: &str) {
            self.0.lock().unwrap().extend(text.as_bytes());
        }
    }

    impl Footer for Noted {
        fn draw(&mut self) {
            let _ = self.1.send(());
        }

        fn aside(&mut self, write: &mut dyn FnMut()) {
            self.note("(");
            write();
            self.note(")");
        }

        fn clear(&mut self) {
            self.note("cleared\n");
        }
    }

    #[test]
    fn a_footer_is_drawn_again_and_again_and_put_aside_for_each_line() {
        let (writer, taken) = writer(Vec::new());
        let (send, drawn) = channel();
        writer.footer(Some(Box::new(Noted(Arc::clone(&taken), send))));
        for _ in 0..3 {
            drawn.recv_timeout(BOUND).unwrap();
        }
        say(&writer, "a");
        writer.footer(None);
        say(&writer, "b");
        writer.flush(BOUND);
        assert_eq!(text(&taken), "(a\n)cleared\nb\n");
    }
}
