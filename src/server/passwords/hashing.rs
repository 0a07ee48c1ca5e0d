//! argon2id on a thread pool of its own: a hash takes tens of milliseconds and 19 MiB, so the number of concurrent hashes is fixed.

use std::{io, sync::Arc};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::{
    entropy,
    server::{
        meters::Meters,
        model::Password,
        settings::{self, Setting, Values, cores, number, setting},
        workers::{FairWorkers, QueueShare, WorkError},
    },
};

/// The settings of hashing. The minimum is what OWASP recommends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) threads: usize,
    /// Maximum number of hashes that wait.
    pub(crate) queue: usize,
}

impl Policy {
    pub(crate) const SETTINGS: &'static [Setting] = &[
        setting(
            "password_memory_kib",
            Some("19456"),
            "memory of one password hash, in KiB; raising it rehashes each password when it is next used",
            "a number from 19456 to 1048576",
        ),
        setting("password_passes", Some("2"), "number of passes of one password hash", "a number from 2 to 20"),
        setting(
            "password_threads",
            None,
            "number of threads that hash passwords, each using the memory of one hash; by default half the cores",
            "a number from 1 to 64",
        ),
        setting(
            "password_queue",
            Some("64"),
            "maximum number of queued password hashes; further requests are answered with 503",
            "a number from 1 to 10000",
        ),
    ];

    pub(crate) fn read(values: &Values) -> Result<Self, settings::Error> {
        Ok(Self {
            memory_kib: values.parse("password_memory_kib", number(19_456, 1_048_576))?,
            passes: values.parse("password_passes", number(2, 20))?,
            threads: values.parse_if_any("password_threads", number(1, 64))?.unwrap_or_else(|| (cores() / 2).max(1)),
            queue: values.parse("password_queue", number(1, 10_000))?,
        })
    }
}

/// The result of comparing a password with its hash.
#[derive(Debug, Clone)]
pub(crate) enum Comparison {
    Wrong,
    Right {
        /// A new hash with the current parameters, if the stored one uses weaker ones.
        rehash: Option<SecretString>,
    },
}

/// Hashes passwords.
#[derive(Debug, Clone)]
pub(crate) struct PasswordHasher {
    params: Params,
    /// Each thread keeps the memory of its last hash, because allocating it takes as long as the hash itself.
    workers: FairWorkers<Vec<Block>>,
    meters: Arc<Meters>,
}

const SALT_LEN: usize = 16;
const OUTPUT_LEN: usize = 32;

impl PasswordHasher {
    pub(crate) fn start(policy: Policy, meters: Arc<Meters>) -> io::Result<Self> {
        // One lane: parallelism comes from the pool.
        let params = Params::new(policy.memory_kib, policy.passes, 1, Some(OUTPUT_LEN)).map_err(io::Error::other)?;
        let workers = FairWorkers::start("password", policy.threads, policy.queue, meters.hashing.clone())?;
        Ok(Self { params, workers, meters })
    }

    /// The number of hashes that wait for a thread.
    pub(crate) fn waiting(&self) -> usize {
        self.workers.waiting()
    }

    /// Hashes a new password with a random salt.
    pub(crate) async fn hash(&self, password: Password) -> Result<SecretString, WorkError> {
        let params = self.params.clone();
        self.workers.run(&QueueShare::default(), move |memory| new_hash(&params, password.expose(), memory)).await?
    }

    /// Compares `sent` with the hash `stored`. The job is queued for `share`; if other jobs wait, for `other`. Without a stored hash, it
    /// does the same work, so that the time does not reveal whether the user exists.
    #[tracing::instrument(name = "hash_password", level = "debug", skip_all, fields(queued_us))]
    pub(crate) async fn verify(
        &self,
        share: &QueueShare,
        other: impl Future<Output = Option<QueueShare>>,
        sent: SecretString,
        stored: Option<SecretString>,
    ) -> Result<Comparison, WorkError> {
        let asked = Arc::new((sent, stored));
        let job = || {
            let (params, meters, asked) = (self.params.clone(), Arc::clone(&self.meters), Arc::clone(&asked));
            move |memory: &mut Vec<Block>| {
                meters.password_hashes.inc();
                let (sent, stored) = &*asked;
                compare(&params, sent.expose_secret(), stored.as_ref().map(SecretString::expose_secret), memory)
            }
        };
        self.workers.run_or_else(share, other, job).await?
    }
}

fn compare(params: &Params, sent: &str, stored: Option<&str>, memory: &mut Vec<Block>) -> Result<Comparison, WorkError> {
    let Some(stored) = stored else {
        compute(params, sent.as_bytes(), &[0; SALT_LEN], memory)?;
        return Ok(Comparison::Wrong);
    };
    let stored = PasswordHash::new(stored).map_err(|_| WorkError::Failed)?;
    let (Some(salt), Some(wanted), Ok(used)) = (&stored.salt, &stored.hash, Params::try_from(&stored)) else {
        return Err(WorkError::Failed);
    };
    let found = compute(&used, sent.as_bytes(), salt.as_ref(), memory)?;
    let missing = work(params).saturating_sub(work(&used));
    if !bool::from(found.as_slice().ct_eq(wanted.as_bytes())) {
        if missing > 0 {
            // Add work if the hash has weaker parameters, so that it costs as much as an unknown user.
            let passes = u32::try_from(missing.div_ceil(u64::from(params.m_cost()))).unwrap_or(u32::MAX);
            let rest = Params::new(params.m_cost(), passes, 1, Some(OUTPUT_LEN)).map_err(|_| WorkError::Failed)?;
            compute(&rest, sent.as_bytes(), &[0; SALT_LEN], memory)?;
        }
        return Ok(Comparison::Wrong);
    }
    let raised = used.m_cost() < params.m_cost() || used.t_cost() < params.t_cost();
    let rehash = raised.then(|| new_hash(params, sent, memory)).transpose()?;
    Ok(Comparison::Right { rehash })
}

/// The cost of a hash: memory blocks times passes.
fn work(params: &Params) -> u64 {
    u64::from(params.m_cost()) * u64::from(params.t_cost())
}

/// A hash in PHC form: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`.
fn new_hash(params: &Params, password: &str, memory: &mut Vec<Block>) -> Result<SecretString, WorkError> {
    let salt = entropy::bytes::<SALT_LEN>();
    let hash = compute(params, password.as_bytes(), &salt, memory)?;
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(|_| WorkError::Failed)?,
        salt: Some(Salt::new(&salt).map_err(|_| WorkError::Failed)?),
        hash: Some(Output::new(&hash).map_err(|_| WorkError::Failed)?),
    };
    Ok(phc.to_string().into())
}

fn compute(params: &Params, password: &[u8], salt: &[u8], memory: &mut Vec<Block>) -> Result<[u8; OUTPUT_LEN], WorkError> {
    let blocks = params.block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::new());
    }
    let mut hash = [0; OUTPUT_LEN];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2.hash_password_into_with_memory(password, salt, &mut hash, &mut memory[..blocks]).map_err(|_| WorkError::Failed)?;
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc,
        task::{Context, Waker},
    };

    use super::*;

    fn share(source: u32) -> QueueShare {
        QueueShare { client: "shop".to_owned(), source: source.to_string(), known_user: None }
    }

    fn is_right(compared: Result<Comparison, WorkError>) -> Result<bool, WorkError> {
        compared.map(|comparison| matches!(comparison, Comparison::Right { .. }))
    }

    /// A hasher with one thread, which is busy until the sender sends, and room for `queue` jobs that wait.
    fn busy(queue: usize) -> (PasswordHasher, mpsc::Sender<()>, impl Future<Output = Result<(), WorkError>>) {
        let policy = Policy { memory_kib: 64, passes: 1, threads: 1, queue };
        let hasher = PasswordHasher::start(policy, Arc::default()).unwrap();
        let ((started, has_started), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
        let workers = hasher.workers.clone();
        let mut busy = Box::pin(async move {
            let wait = move |_: &mut Vec<Block>| {
                started.send(()).unwrap();
                released.recv().unwrap();
            };
            workers.run(&QueueShare::default(), wait).await
        });
        assert!(busy.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        has_started.recv().unwrap();
        (hasher, release, busy)
    }

    #[tokio::test]
    async fn hd5_hd6_a_user_at_a_known_source_is_checked_although_strangers_fill_the_queue() {
        let (hasher, release, busy) = busy(4);
        let verify = |share: QueueShare, known: Option<QueueShare>| {
            let hasher = hasher.clone();
            let mut verified = Box::pin(async move { is_right(hasher.verify(&share, async { known }, "wrong".into(), None).await) });
            let outcome = verified.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            (verified, outcome)
        };
        let mut strangers: Vec<_> = (0..4).map(|stranger| verify(share(stranger), None).0).collect();
        assert_eq!(hasher.waiting(), 4);
        // A stranger is refused at once; a user at a known source is not.
        assert_eq!(verify(share(5), None).1, std::task::Poll::Ready(Err(WorkError::QueueFull)));
        let known = QueueShare { known_user: Some("alice".to_owned()), ..share(6) };
        let (alice, outcome) = verify(share(6), Some(known.clone()));
        assert!(outcome.is_pending());
        assert_eq!((hasher.waiting(), hasher.meters.hashing.shed.get()), (4, 1), "a job that is queued at the second attempt is not shed");

        release.send(()).unwrap();
        assert_eq!(busy.await, Ok(()));
        assert_eq!(alice.await, Ok(false));
        let mut refused = 0;
        for stranger in &mut strangers {
            refused += usize::from(stranger.await == Err(WorkError::QueueFull));
        }
        assert_eq!((refused, hasher.meters.hashing.shed.get()), (1, 2), "one of the four was displaced");
    }

    #[tokio::test]
    async fn hd5_hd6_a_user_at_a_known_source_who_loses_a_place_as_a_stranger_gets_it_back() {
        // Which of two strangers gives way is left to chance; what comes of it is not.
        for _ in 0..16 {
            let (hasher, release, busy) = busy(2);
            let known = |user: &str| QueueShare { known_user: Some(user.to_owned()), ..share(9) };
            let verify = |share: QueueShare, known: Option<QueueShare>| {
                let hasher = hasher.clone();
                let mut verified = Box::pin(async move { is_right(hasher.verify(&share, async { known }, "wrong".into(), None).await) });
                assert!(verified.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                verified
            };
            // No job waits, so that alice is not looked up: she waits like a stranger.
            let mut alice = verify(share(9), Some(known("alice")));
            let stranger = verify(share(1), None);
            let bob = verify(share(9), Some(known("bob")));
            assert!(alice.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(stranger.await, Err(WorkError::QueueFull));
            release.send(()).unwrap();
            assert_eq!((busy.await, alice.await, bob.await), (Ok(()), Ok(false), Ok(false)));
        }
    }
}
