//! `consentry audit export`: the decision log as events for a SIEM.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::NamedTempFile;

use super::audit::{Place, moment, unreadable};
use super::client::query;
use super::{Exit, Failure, Format, Output};
use crate::audit::Tiles;
use crate::audit::export::{self, Event, EventTable, ExportError, Position, Step, TableError, Tail, body, record};
use crate::clock::{Clock, SystemClock};
use crate::model::{EventFormat, ExportFormat};

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// The file that is written, a new one; standard output without it, or with `-`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// From then on: a time with offset, or back from now: 30d, 12h, 45m.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The first entry; decisions that began before it are left out.
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// Go on with what is written, until Ctrl-C; decisions that are under way are told when they are over.
    #[arg(long, requires = "offline")]
    follow: bool,
    #[command(flatten)]
    place: Place,
}

/// How often a log is looked at that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) fn export(output: &Output, args: &ExportArgs) -> Result<Exit, Failure> {
    let Format::Export(format) = output.format else {
        return Err(Failure::usage("say in which format: `--format ocsf`, `cef`, `leef`, `otlp`, `ndjson` or `parquet`"));
    };
    if format == ExportFormat::Parquet && args.follow {
        return Err(Failure::usage("a Parquet file is only good as a whole, and `--follow` never ends; leave it out, or write `--format ndjson`"));
    }
    let clock = SystemClock::shared();
    let time = |text: &Option<String>| text.as_deref().map(|text| moment(text, clock.now())).transpose();
    let (since, until) = (time(&args.since)?, time(&args.until)?);
    let mut to = Told { to: To::of(args.out.as_deref(), format, output)?, events: 0, progress: output.spinner("reading") };
    match &args.place.offline {
        Some(dir) => of_files(dir, args, (since, until), &*clock, &mut to)?,
        None => of_gateway(args, (since, until), &mut to)?,
    }
    let events = to.end()?;
    output.aside(format!("{events} events"));
    Ok(Exit::Done)
}

type Span = (Option<Timestamp>, Option<Timestamp>);

fn of_files(dir: &Path, args: &ExportArgs, span: Span, clock: &dyn Clock, to: &mut Told) -> Result<(), Failure> {
    let failed = |error: ExportError| match error {
        ExportError::Audit(error) => unreadable(dir, &error),
        other @ (ExportError::Position { .. } | ExportError::NotThisLog { .. } | ExportError::SetBack { .. }) => {
            Failure::new(Exit::CheckFailed, other.to_string())
        }
    };
    let origin = export::origin(dir).map_err(|error| unreadable(dir, &error))?;
    let mut tail = Tail::open(dir, &origin, Position { next: args.from, ..Position::default() }).map_err(failed)?;
    let put = |event: &Event, to: &mut Told| if within(event, span) { to.put(event, &origin) } else { Ok(()) };
    let tiles = Tiles::new(dir);
    let mut bound = None;
    loop {
        if args.follow {
            // What is signed is durable.
            let note = tiles.checkpoint().map_err(|error| unreadable(dir, &error))?;
            bound = note.lines().nth(1).and_then(|line| line.parse().ok());
        }
        loop {
            match tail.step(bound, args.follow.then(|| clock.now())).map_err(failed)? {
                Step::Event(event) => put(&event, to)?,
                Step::Read => {}
                Step::Idle => break,
            }
        }
        if !args.follow {
            return tail.finish().try_for_each(|event| put(&event, to));
        }
        to.flush()?;
        sleep(LOOK_EVERY);
    }
}

fn within(event: &Event, (since, until): Span) -> bool {
    since.is_none_or(|since| event.at >= since) && until.is_none_or(|until| event.at < until)
}

fn of_gateway(args: &ExportArgs, (since, until): Span, to: &mut Told) -> Result<(), Failure> {
    let admin = args.place.server.connect()?;
    let mut cursor = None;
    loop {
        let params = query(&[
            ("format", Some(to.to.asked().as_str().to_owned())),
            ("from", (args.from > 0).then(|| args.from.to_string())),
            ("since", since.map(|t| t.to_string())),
            ("until", until.map(|t| t.to_string())),
            ("cursor", cursor.take()),
        ]);
        let (page, next) = admin.page(&format!("/v1/decisions/export{params}"))?;
        to.page(&page)?;
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

/// What was written, and where.
struct Told {
    to: To,
    events: u64,
    progress: indicatif::ProgressBar,
}

enum To {
    Lines { out: Out, format: EventFormat },
    Table(Box<TableFile>),
}

impl To {
    fn of(path: Option<&Path>, format: ExportFormat, output: &Output) -> Result<Self, Failure> {
        Ok(match format {
            ExportFormat::Events(format) => Self::Lines { out: Out::of(path)?, format },
            ExportFormat::Parquet => Self::Table(Box::new(TableFile::of(path, output)?)),
        })
    }

    /// In which form a gateway is asked: a row of a table is an event of NDJSON.
    const fn asked(&self) -> EventFormat {
        match self {
            Self::Lines { format, .. } => *format,
            Self::Table(_) => EventFormat::Ndjson,
        }
    }
}

impl Told {
    fn put(&mut self, event: &Event, origin: &str) -> Result<(), Failure> {
        self.events += 1;
        if self.events.is_multiple_of(1_000) {
            self.progress.set_message(format!("{} events, entry {}", self.events, event.index));
        }
        match &mut self.to {
            To::Lines { out, format } => out.write(body(*format, origin, [record(*format, event).as_str()]).as_bytes()),
            To::Table(table) => table.rows()?.put(event).map_err(|error| not_as_table(&error)),
        }
    }

    fn page(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(bytes);
        let count = match self.to.asked() {
            EventFormat::Otlp => text.matches("\"log.record.uid\"").count(),
            EventFormat::Ocsf | EventFormat::Cef | EventFormat::Leef | EventFormat::Ndjson => text.lines().count(),
        };
        self.events += u64::try_from(count).unwrap_or(u64::MAX);
        self.progress.set_message(format!("{} events", self.events));
        match &mut self.to {
            // Without events there is no request of OTLP either.
            To::Lines { .. } if count == 0 => Ok(()),
            To::Lines { out, .. } => out.write(bytes),
            To::Table(table) => {
                let rows = table.rows()?;
                text.lines().try_for_each(|line| {
                    let event = serde_json::from_str(line).map_err(|_other| Failure::new(Exit::Internal, "the gateway answered what is no event"))?;
                    rows.put_document(event).map_err(|error| not_as_table(&error))
                })
            }
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match &mut self.to {
            To::Lines { out, .. } => out.flush(),
            To::Table(_) => Ok(()),
        }
    }

    fn end(self) -> Result<u64, Failure> {
        self.progress.finish_and_clear();
        match self.to {
            To::Lines { mut out, .. } => out.flush()?,
            To::Table(table) => table.end()?,
        }
        Ok(self.events)
    }
}

/// A Parquet file: under a name of its own until it is whole, so that nobody takes half of one for all there is.
struct TableFile {
    path: Option<PathBuf>,
    open: Option<EventTable<BufWriter<Sink>>>,
}

enum Sink {
    File(NamedTempFile),
    Pipe(io::Stdout),
}

impl TableFile {
    fn of(path: Option<&Path>, output: &Output) -> Result<Self, Failure> {
        let path = new_file(path)?;
        if path.is_none() && output.is_terminal {
            return Err(Failure::usage("Parquet is nothing for a terminal; name a file with `--out`"));
        }
        Ok(Self { path, open: None })
    }

    fn rows(&mut self) -> Result<&mut EventTable<BufWriter<Sink>>, Failure> {
        if self.open.is_none() {
            let sink = match &self.path {
                Some(path) => {
                    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                    Sink::File(NamedTempFile::with_prefix_in(".parquet-", folder).map_err(|error| unopened(path, &error))?)
                }
                None => Sink::Pipe(io::stdout()),
            };
            self.open = Some(EventTable::new(BufWriter::new(sink)).map_err(|error| not_as_table(&error))?);
        }
        self.open.as_mut().ok_or_else(|| Failure::new(Exit::Internal, "the table did not open"))
    }

    /// A table without rows is a table, too.
    fn end(mut self: Box<Self>) -> Result<(), Failure> {
        self.rows()?;
        let (Some(table), path) = (self.open, self.path) else { return Ok(()) };
        let out = table.finish().map_err(|error| not_as_table(&error))?;
        match (out.into_inner().map_err(|error| unwritten(error.error()))?, path) {
            (Sink::File(file), Some(path)) => {
                file.as_file().sync_all().map_err(|error| unwritten(&error))?;
                file.persist_noclobber(&path).map(drop).map_err(|error| unopened(&path, &error.error))
            }
            (Sink::Pipe(mut out), None) => out.flush().map_err(|error| unwritten(&error)),
            (Sink::File(_), None) | (Sink::Pipe(_), Some(_)) => Err(Failure::new(Exit::Internal, "the table went elsewhere")),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Pipe(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Pipe(out) => out.flush(),
        }
    }
}

fn not_as_table(error: &TableError) -> Failure {
    Failure::new(Exit::Internal, error.to_string())
}

/// A new file, or standard output; opened with the first event, so that nothing is left of an export that cannot begin.
struct Out {
    path: Option<PathBuf>,
    open: Option<BufWriter<Box<dyn Write>>>,
}

impl Out {
    fn of(path: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self { path: new_file(path)?, open: None })
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.write(&[])?;
        self.open.as_mut().map_or(Ok(()), Write::flush).map_err(|error| unwritten(&error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(BufWriter::new(open(self.path.as_deref())?)),
        };
        open.write_all(bytes).map_err(|error| unwritten(&error))
    }
}

/// `None` for standard output.
fn new_file(path: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    let path = path.filter(|path| *path != Path::new("-"));
    match path.filter(|path| path.exists()) {
        Some(there) => Err(Failure::usage(format!("`{}` is there already; name a new file", there.display()))),
        None => Ok(path.map(Path::to_owned)),
    }
}

fn open(path: Option<&Path>) -> Result<Box<dyn Write>, Failure> {
    let Some(path) = path else { return Ok(Box::new(io::stdout())) };
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    Ok(Box::new(opened.map_err(|error| unopened(path, &error))?))
}

fn unopened(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Internal, format!("cannot write `{}`: {error}", path.display()))
}

fn unwritten(error: &io::Error) -> Failure {
    // The reader has seen enough (`| head`).
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::new(Exit::Done, "")
    } else {
        Failure::new(Exit::Internal, format!("cannot write: {error}"))
    }
}
