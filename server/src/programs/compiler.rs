//! Compiles programs in processes of their own, a few at a time, each within limits.
//!
//! Owns the child processes. Never touches a program's bytes itself: they are a stranger's.
//!
//! ```text
//!   compile ─▶ room to wait? ─▶ one of two at once ─▶ child: confined, 10 s of CPU, 1 GiB, 20 s
//!                 └ Busy                                └▶ artefact, or a sentence why not
//! ```
//!
//! Invariant: a child never outlives the call that started it.

use super::wire::{REJECTED, Rejected};
use crate::config::limits::{
    ARTEFACT_BYTES_MAX, COMPILE_CPU_SECONDS_MAX, COMPILE_MEMORY_BYTES_MAX, COMPILE_MS_MAX,
    COMPILES_AT_ONCE_MAX, COMPILES_WAITING_MAX,
};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

/// Why there is no artefact.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The program is not one that runs here.
    #[error("{0}")]
    Rejected(String),
    /// Too much work.
    #[error(
        "compiling took more than {COMPILE_CPU_SECONDS_MAX} s of CPU: make the program smaller"
    )]
    TooSlow,
    /// Too much memory.
    #[error(
        "compiling needed more than {} MiB of memory: make the program smaller",
        COMPILE_MEMORY_BYTES_MAX >> 20
    )]
    TooHungry,
    /// Too much code came out.
    #[error("its machine code has more than {ARTEFACT_BYTES_MAX} bytes: make the program smaller")]
    TooLarge,
    /// The compiler broke on it.
    #[error("the compiler broke on it ({0}): write it another way, and report this")]
    Broken(String),
    /// Too long a wait, whoever is to blame.
    #[error("compiling took more than {0} ms: the machine is busy, try again")]
    TimedOut(u128),
    /// Too many wait.
    #[error("{COMPILES_WAITING_MAX} programs wait to be compiled already: try again")]
    Busy,
    /// The process cannot be had.
    #[error("the compiler's process does not start: {0}")]
    NoProcess(#[source] std::io::Error),
}

impl CompileError {
    /// Whether the program is to blame, so that the same bytes will fail again.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Rejected(_)
            | Self::TooSlow
            | Self::TooHungry
            | Self::TooLarge
            | Self::Broken(_) => true,
            Self::TimedOut(_) | Self::Busy | Self::NoProcess(_) => false,
        }
    }
}

/// How to start the child.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The binary.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its time, from start to end.
    pub time_max: Duration,
}

impl Recipe {
    /// This very binary, as it was started, even if its file has been replaced since.
    #[must_use]
    pub fn this_binary() -> Self {
        let cpu = format!("--cpu-seconds={COMPILE_CPU_SECONDS_MAX}");
        Self {
            program: PathBuf::from("/proc/self/exe"),
            arguments: vec!["compile-program".to_owned(), cpu],
            time_max: Duration::from_millis(COMPILE_MS_MAX),
        }
    }
}

/// See the module header.
#[derive(Clone, Debug)]
pub struct Compiler {
    recipe: Recipe,
    waiting: Arc<Semaphore>,
    running: Arc<Semaphore>,
    counts: Arc<CompilerCounts>,
}

/// What a compiler counts.
#[derive(Debug, Default)]
pub(crate) struct CompilerCounts {
    pub(crate) compiled: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) waiting_high: AtomicU64,
}

impl Compiler {
    /// A compiler whose children are made like this.
    #[must_use]
    pub fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            waiting: Arc::new(Semaphore::new(COMPILES_WAITING_MAX)),
            running: Arc::new(Semaphore::new(COMPILES_AT_ONCE_MAX)),
            counts: Arc::default(),
        }
    }

    /// Compiles one program.
    ///
    /// # Errors
    /// Why there is no artefact.
    pub async fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, CompileError> {
        let done = self.compile_in_turn(wasm).await;
        let counter = if done.is_ok() { &self.counts.compiled } else { &self.counts.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        done
    }

    /// Programs that wait or are being compiled.
    pub(crate) fn waiting(&self) -> usize {
        COMPILES_WAITING_MAX - self.waiting.available_permits()
    }

    pub(crate) fn counts(&self) -> &CompilerCounts {
        &self.counts
    }

    async fn compile_in_turn(&self, wasm: &[u8]) -> Result<Vec<u8>, CompileError> {
        let _place = self.waiting.try_acquire().map_err(|_| CompileError::Busy)?;
        self.counts.waiting_high.fetch_max(self.waiting() as u64, Ordering::Relaxed);
        // Never closed, so that an error is as good as busy.
        let _turn = self.running.acquire().await.map_err(|_| CompileError::Busy)?;
        let time_max = self.recipe.time_max;
        let mut child = self.spawn().map_err(CompileError::NoProcess)?;
        let told = tokio::time::timeout(time_max, talk(&mut child, wasm)).await;
        let Ok(told) = told else {
            // It must be gone, not only told to go, before its place is free.
            let _ = child.kill().await;
            return Err(CompileError::TimedOut(time_max.as_millis()));
        };
        told.map_err(CompileError::NoProcess)?.judge()
    }

    fn spawn(&self) -> std::io::Result<Child> {
        Command::new(&self.recipe.program)
            .args(&self.recipe.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

/// All that a child said.
struct Told {
    status: ExitStatus,
    artefact: Vec<u8>,
    words: Vec<u8>,
}

async fn talk(child: &mut Child, wasm: &[u8]) -> std::io::Result<Told> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let give = async {
        if let Some(mut stdin) = stdin {
            // A child that ends before it has read all says why on its standard error.
            let _ = stdin.write_all(wasm).await;
        }
    };
    let ((), artefact, words) =
        tokio::join!(give, read(stdout, ARTEFACT_BYTES_MAX + 1), read(stderr, WORDS_BYTES_MAX));
    let (artefact, words) = (artefact?, words?);
    if artefact.len() > ARTEFACT_BYTES_MAX {
        // It may go on writing where nobody reads.
        child.start_kill()?;
    }
    Ok(Told { status: child.wait().await?, artefact, words })
}

async fn read(from: Option<impl AsyncRead + Unpin>, max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(max as u64).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

impl Told {
    fn judge(self) -> Result<Vec<u8>, CompileError> {
        let Self { status, artefact, words } = self;
        if artefact.len() > ARTEFACT_BYTES_MAX {
            return Err(CompileError::TooLarge);
        }
        if status.success() {
            return Ok(artefact);
        }
        if status.code() == Some(i32::from(REJECTED))
            && let Ok(Rejected { message }) = serde_json::from_slice(&words)
        {
            return Err(CompileError::Rejected(message));
        }
        let words = String::from_utf8_lossy(&words);
        if status.signal() == Some(libc::SIGXCPU) {
            return Err(CompileError::TooSlow);
        }
        if words.contains("memory allocation of") {
            return Err(CompileError::TooHungry);
        }
        let words = words.lines().next().unwrap_or_default();
        Err(CompileError::Broken(format!("{status}: {words}")))
    }
}

/// What a child may say on its standard error.
const WORDS_BYTES_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// A compiler whose child is a shell that runs this.
    fn shell(script: &str) -> Compiler {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let time_max = Duration::from_secs(60);
        Compiler::new(Recipe { program: "/bin/sh".into(), arguments, time_max })
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(future)
    }

    fn outcome(script: &str, wasm: &[u8]) -> Result<Vec<u8>, String> {
        run(shell(script).compile(wasm)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_childs_output_is_the_artefact() {
        let wasm = vec![7; 1 << 20];
        assert_eq!(outcome("exec cat", &wasm), Ok(wasm));
    }

    #[test]
    fn every_bad_end_has_its_sentence() {
        let cases = [
            (r#"echo '{"message":"no good (at byte 7)"}' >&2; exit 3"#, "no good (at byte 7)"),
            ("kill -XCPU $$", "10 s of CPU: make the program smaller"),
            ("echo memory allocation of 9 bytes failed >&2; kill -ABRT $$", "1024 MiB of memory"),
            ("echo oops >&2; kill -SEGV $$", "the compiler broke on it (signal: 11"),
            ("exit 3", "the compiler broke on it (exit status: 3"),
            ("exec cat /dev/zero", "its machine code has more than"),
        ];
        for (script, words) in cases {
            let error = outcome(script, b"wasm").unwrap_err();
            assert!(error.contains(words), "{script}: {error}");
        }
        let missing = Recipe { program: "/nowhere".into(), ..shell("").recipe };
        let error = run(Compiler::new(missing).compile(b"")).unwrap_err();
        assert!(!error.is_final() && error.to_string().contains("does not start"), "{error}");
    }

    #[test]
    fn a_child_that_takes_too_long_is_killed() {
        // It would end, with success, only when its standard input does: never, before it is killed.
        let mut compiler = shell("exec tail -f /dev/null");
        compiler.recipe.time_max = Duration::from_millis(20);
        let error = run(compiler.compile(b"wasm")).unwrap_err();
        assert!(matches!(error, CompileError::TimedOut(20)), "{error}");
        assert!(!error.is_final());
        assert_eq!(compiler.waiting(), 0);
    }

    #[test]
    fn only_so_many_wait() {
        run(async {
            let compiler = shell("exec tail -f /dev/null");
            let wait = || {
                let compiler = compiler.clone();
                tokio::spawn(
                    async move { compiler.compile(b"wasm").await.map_err(|e| e.is_final()) },
                )
            };
            let waiting: Vec<_> = (0..COMPILES_WAITING_MAX).map(|_| wait()).collect();
            tokio::task::yield_now().await;
            assert_eq!(compiler.waiting(), COMPILES_WAITING_MAX);
            let error = compiler.compile(b"wasm").await.unwrap_err();
            assert!(matches!(error, CompileError::Busy), "{error}");
            for task in waiting {
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
            }
            assert_eq!(compiler.waiting(), 0);
        });
    }
}
