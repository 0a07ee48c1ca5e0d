//! argon2id on a pool of its own: a hash takes tens of milliseconds and 19 MiB, so how many run at once is fixed.

use std::{io, sync::Arc};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use subtle::ConstantTimeEq;

use crate::{
    entropy,
    server::{
        meters::Meters,
        model::Password,
        workers::{FairWorkers, Share, Unserved},
    },
};

/// What hashing obeys. The least that is allowed is what OWASP advises.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) threads: usize,
    /// Hashes that wait at most.
    pub(crate) queue: usize,
}

/// What became of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wrong,
    Right {
        /// Its hash under the parameters in force, where they were raised since it was set.
        rehash: Option<String>,
    },
}

/// Hashes passwords.
#[derive(Debug, Clone)]
pub(crate) struct PasswordHasher {
    params: Params,
    /// Each thread keeps the memory of its last hash: half of what a hash costs would be getting it from the system.
    workers: FairWorkers<Vec<Block>>,
    meters: Arc<Meters>,
}

const SALT_LEN: usize = 16;
const OUTPUT_LEN: usize = 32;

impl PasswordHasher {
    pub(crate) fn start(policy: Policy, meters: Arc<Meters>) -> io::Result<Self> {
        // One lane: the pool is what runs in parallel.
        let params = Params::new(policy.memory_kib, policy.passes, 1, Some(OUTPUT_LEN)).map_err(io::Error::other)?;
        let workers = FairWorkers::start("password", policy.threads, policy.queue, meters.hashing.clone())?;
        Ok(Self { params, workers, meters })
    }

    /// How many hashes wait for a thread.
    pub(crate) fn waiting(&self) -> usize {
        self.workers.waiting()
    }

    /// A new hash, with a salt of its own.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, Unserved> {
        let params = self.params.clone();
        self.workers.run(&Share::default(), move |memory| new_hash(&params, password.expose(), memory)).await?
    }

    /// Whether `sent` is the password behind `stored`, when it is the turn of `share`. Without one, the same work is done for nothing, so that the time does
    /// not tell whether there is such a user.
    #[tracing::instrument(name = "hash_password", level = "debug", skip_all, fields(queued_us))]
    pub(crate) async fn verify(&self, share: &Share, sent: String, stored: Option<String>) -> Result<Verdict, Unserved> {
        let (params, meters) = (self.params.clone(), Arc::clone(&self.meters));
        let job = move |memory: &mut Vec<Block>| {
            meters.password_hashes.inc();
            let sent = zeroize::Zeroizing::new(sent);
            let Some(stored) = stored else {
                compute(&params, sent.as_bytes(), &[0; SALT_LEN], memory)?;
                return Ok(Verdict::Wrong);
            };
            let stored = PasswordHash::new(&stored).map_err(|_| Unserved::Lost)?;
            let (Some(salt), Some(wanted), Ok(used)) = (&stored.salt, &stored.hash, Params::try_from(&stored)) else {
                return Err(Unserved::Lost);
            };
            let found = compute(&used, sent.as_bytes(), salt.as_ref(), memory)?;
            let missing = work(&params).saturating_sub(work(&used));
            if !bool::from(found.as_slice().ct_eq(wanted.as_bytes())) {
                if missing > 0 {
                    // As much work as an unknown user costs, also where the hash was made by lower parameters.
                    let passes = u32::try_from(missing.div_ceil(u64::from(params.m_cost()))).unwrap_or(u32::MAX);
                    let rest = Params::new(params.m_cost(), passes, 1, Some(OUTPUT_LEN)).map_err(|_| Unserved::Lost)?;
                    compute(&rest, sent.as_bytes(), &[0; SALT_LEN], memory)?;
                }
                return Ok(Verdict::Wrong);
            }
            let raised = used.m_cost() < params.m_cost() || used.t_cost() < params.t_cost();
            let rehash = raised.then(|| new_hash(&params, &sent, memory)).transpose()?;
            Ok(Verdict::Right { rehash })
        };
        self.workers.run(share, job).await?
    }
}

/// What a hash costs: blocks of memory times passes over them.
fn work(params: &Params) -> u64 {
    u64::from(params.m_cost()) * u64::from(params.t_cost())
}

/// A hash in PHC form: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`.
fn new_hash(params: &Params, password: &str, memory: &mut Vec<Block>) -> Result<String, Unserved> {
    let salt = entropy::bytes::<SALT_LEN>();
    let hash = compute(params, password.as_bytes(), &salt, memory)?;
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(|_| Unserved::Lost)?,
        salt: Some(Salt::new(&salt).map_err(|_| Unserved::Lost)?),
        hash: Some(Output::new(&hash).map_err(|_| Unserved::Lost)?),
    };
    Ok(phc.to_string())
}

fn compute(params: &Params, password: &[u8], salt: &[u8], memory: &mut Vec<Block>) -> Result<[u8; OUTPUT_LEN], Unserved> {
    let blocks = params.block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::new());
    }
    let mut hash = [0; OUTPUT_LEN];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    argon2.hash_password_into_with_memory(password, salt, &mut hash, &mut memory[..blocks]).map_err(|_| Unserved::Lost)?;
    Ok(hash)
}
