//! `consentry audit export`: the decision log as events for a SIEM.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;

use super::audit::{Place, moment, unreadable};
use super::client::query;
use super::{Exit, Failure, Format, Output};
use crate::audit::Tiles;
use crate::audit::export::{self, Event, ExportError, Position, Step, Tail};
use crate::clock::{Clock, SystemClock};

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
        return Err(Failure::usage("say in which format: `--format ocsf`, `cef`, `leef`, `otlp` or `ndjson`"));
    };
    let clock = SystemClock::shared();
    let time = |text: &Option<String>| text.as_deref().map(|text| moment(text, clock.now())).transpose();
    let (since, until) = (time(&args.since)?, time(&args.until)?);
    let mut to = Lines { out: Out::of(args.out.as_deref())?, events: 0, progress: output.spinner("reading") };
    match &args.place.offline {
        Some(dir) => of_files(dir, args, format, (since, until), &*clock, &mut to)?,
        None => of_gateway(args, format, (since, until), &mut to)?,
    }
    to.end()?;
    output.aside(format!("{} events", to.events));
    Ok(Exit::Done)
}

type Span = (Option<Timestamp>, Option<Timestamp>);

fn of_files(dir: &Path, args: &ExportArgs, format: export::Format, span: Span, clock: &dyn Clock, to: &mut Lines) -> Result<(), Failure> {
    let failed = |error: ExportError| match error {
        ExportError::Audit(error) => unreadable(dir, &error),
        other @ (ExportError::Position { .. } | ExportError::NotThisLog { .. } | ExportError::SetBack { .. }) => {
            Failure::new(Exit::CheckFailed, other.to_string())
        }
    };
    let origin = export::origin(dir).map_err(|error| unreadable(dir, &error))?;
    let mut tail = Tail::open(dir, &origin, Position { next: args.from, ..Position::default() }).map_err(failed)?;
    let put = |event: &Event, to: &mut Lines| {
        if !within(event, span) {
            return Ok(());
        }
        to.put(event.index, &format.body(&origin, [format.record(event).as_str()]))
    };
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

fn of_gateway(args: &ExportArgs, format: export::Format, (since, until): Span, to: &mut Lines) -> Result<(), Failure> {
    let admin = args.place.server.connect()?;
    let mut cursor = None;
    loop {
        let params = query(&[
            ("format", Some(format.as_str().to_owned())),
            ("from", (args.from > 0).then(|| args.from.to_string())),
            ("since", since.map(|t| t.to_string())),
            ("until", until.map(|t| t.to_string())),
            ("cursor", cursor.take()),
        ]);
        let (page, next) = admin.page(&format!("/v1/decisions/export{params}"))?;
        to.page(&page, format)?;
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

/// What was written, and where.
struct Lines {
    out: Out,
    events: u64,
    progress: indicatif::ProgressBar,
}

impl Lines {
    fn put(&mut self, index: u64, line: &str) -> Result<(), Failure> {
        self.events += 1;
        if self.events.is_multiple_of(1_000) {
            self.progress.set_message(format!("{} events, entry {index}", self.events));
        }
        self.out.write(line.as_bytes())
    }

    fn page(&mut self, bytes: &[u8], format: export::Format) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(bytes);
        let count = match format {
            export::Format::Otlp => text.matches("\"log.record.uid\"").count(),
            export::Format::Ocsf | export::Format::Cef | export::Format::Leef | export::Format::Ndjson => text.lines().count(),
        };
        self.events += u64::try_from(count).unwrap_or(u64::MAX);
        self.progress.set_message(format!("{} events", self.events));
        // Without events there is no request of OTLP either.
        if count == 0 { Ok(()) } else { self.out.write(bytes) }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.out.write(&[])?;
        self.out.open.as_mut().map_or(Ok(()), Write::flush).map_err(|error| unwritten(&error))
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.progress.finish_and_clear();
        self.flush()
    }
}

/// A new file, or standard output; opened with the first event, so that nothing is left of an export that cannot begin.
struct Out {
    path: Option<PathBuf>,
    open: Option<BufWriter<Box<dyn Write>>>,
}

impl Out {
    fn of(path: Option<&Path>) -> Result<Self, Failure> {
        let path = path.filter(|path| *path != Path::new("-"));
        match path.filter(|path| path.exists()) {
            Some(there) => Err(Failure::usage(format!("`{}` is there already; name a new file", there.display()))),
            None => Ok(Self { path: path.map(Path::to_owned), open: None }),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(BufWriter::new(open(self.path.as_deref())?)),
        };
        open.write_all(bytes).map_err(|error| unwritten(&error))
    }
}

fn open(path: Option<&Path>) -> Result<Box<dyn Write>, Failure> {
    let Some(path) = path else { return Ok(Box::new(io::stdout())) };
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    Ok(Box::new(opened.map_err(|error| Failure::new(Exit::Internal, format!("cannot write `{}`: {error}", path.display())))?))
}

fn unwritten(error: &io::Error) -> Failure {
    // The reader has seen enough (`| head`).
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::new(Exit::Done, "")
    } else {
        Failure::new(Exit::Internal, format!("cannot write: {error}"))
    }
}
