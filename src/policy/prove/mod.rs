//! What holds for every request there could be: invariants, equal folders, and policies that say nothing. Cedar's analyser
//! turns each question into formulas for a solver; who runs the solver is not this room's matter ([`Solver`]).
//!
//! The solver knows nothing of a catalogue: what it proves, it proves for every catalogue that fits the schema. Where it
//! finds a request that breaks an invariant, the question is put once more with the loaded catalogue as a condition
//! ([`world`]): either the invariant holds for this one, or a request can be named that may really come. That request is made
//! as plain as it can be and put to plain Cedar; one that does not hold there is never shown as a refutation.
//!
//! The consent state, the lawful basis and the customer's facts are taken as free, whatever `activities.toml` says today.
//!
//! [`world`]: self::world

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use cedar_policy::{Entity, EntityUid, PolicySet, RequestEnv};
use cedar_policy_symcc::err::Error;
use cedar_policy_symcc::solver::Solver;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, CompiledPolicySet};

use crate::model::{ConsentRules, LawfulBasis, PolicyName, Vocabulary};

use super::Policies;
use super::invariants::{Claim, Condition, Invariant};
use witness::Sought;
use world::World;

#[cfg(test)]
mod tests;
mod witness;
mod world;

pub use witness::Witness;

/// Why a question has no answer. The solver must be started anew.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("not decided within the time limit")]
    Undecided,
    #[error("{0}")]
    Broken(String),
}

impl Trouble {
    fn broken(what: &str, error: &dyn std::error::Error) -> Self {
        Self::Broken(format!("{what}: {error}"))
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        if matches!(error, Error::SolverUnknown) { Self::Undecided } else { Self::broken("the analyser", &error) }
    }
}

/// What became of an invariant or of an equality.
#[derive(Clone, Debug)]
pub enum Verdict {
    Proved(Reach),
    /// With a request that breaks it.
    Refuted(Box<Witness>),
    /// No request meets its condition: it says nothing.
    Vacuous,
}

/// For which catalogues a proof holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    EveryCatalogue,
    /// For the loaded one; a change to the catalogue may break it.
    ThisCatalogue,
}

/// What a policy does, for every catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// No request meets it.
    pub is_dead: bool,
    /// Some request makes it err, although every entity is there.
    pub may_err: bool,
    /// It may be taken away and no answer changes.
    pub is_redundant: bool,
}

/// What else two folders answer by, beside their policies: compared as it is written, without a solver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    pub what: &'static str,
    /// What is not the same, as people name it, sorted.
    pub differing: Vec<String>,
}

/// One folder, made ready for the solver.
#[derive(Debug)]
pub struct Prover<'a> {
    policies: &'a Policies,
    set: PolicySet,
    world: World,
    kinds: Vec<Kind>,
}

/// One kind of request (type of principal, action) and the policies as formulas for it.
#[derive(Debug)]
struct Kind {
    env: RequestEnv,
    anywhere: CompiledPolicySet,
    within: OnceLock<Vec<CompiledPolicySet>>,
}

impl<'a> Prover<'a> {
    /// `invariants` are those that are to be asked about.
    ///
    /// # Errors
    /// What Cedar's analyser does not take.
    pub fn new(policies: &'a Policies, invariants: &[Invariant]) -> Result<Self, Trouble> {
        let set = policies.whole_set();
        let conditions = invariants.iter().filter_map(|invariant| match &invariant.claim {
            Claim::Policies(condition) => Some(condition.permit.to_string()),
            Claim::Floor { .. } => None,
        });
        let read: String = conditions.chain([set.to_string()]).collect();
        let sample = witness::sample(policies).ok_or_else(|| Trouble::Broken("the catalogue has no app, category or purpose".to_owned()))?;
        let world = World::of(policies, &read, &sample)?;
        let kinds = policies.schema.request_envs().map(|env| Kind::new(env, &set, policies)).collect::<Result<_, _>>()?;
        Ok(Self { policies, set, world, kinds })
    }

    /// What built-in rules are tried against.
    #[must_use]
    pub fn catalogue(&self) -> (&Vocabulary, &ConsentRules) {
        (&self.policies.vocabulary, &self.policies.consent_rules)
    }

    /// Whether every request that meets the condition is answered as expected.
    ///
    /// # Errors
    /// [`Trouble`], after which `solver` is not to be used any more.
    pub async fn invariant<S: Solver>(&self, condition: &Condition, solver: &mut CedarSymCompiler<S>) -> Result<Verdict, Trouble> {
        if self.is_vacuous(condition, solver).await? {
            return Ok(Verdict::Vacuous);
        }
        let sought = Sought::Breaking(condition);
        let mut reach = Reach::EveryCatalogue;
        for kind in &self.kinds {
            let bound = self.compile(if condition.expects_allow { &condition.permit } else { &condition.all_but }, kind)?;
            if implies(condition, &kind.anywhere, &bound, solver).await? {
                continue;
            }
            reach = Reach::ThisCatalogue;
            // Allow: the requests are bounded; deny: the policies are.
            let bounded = if condition.expects_allow { &self.compile_within(&condition.permit, kind)? } else { self.within(kind)? };
            let other = if condition.expects_allow { &kind.anywhere } else { &bound };
            for bounded in bounded {
                if let Some(found) = solver.check_implies_with_counterexample_opt(bounded, other).await? {
                    return self.refuted(&found.request, &sought);
                }
            }
        }
        Ok(Verdict::Proved(reach))
    }

    /// Whether the policies of this folder and of another one with the same schema answer every request alike. A request that
    /// they answer differently is one of this folder's catalogue; whether the other has the same says [`Prover::beside`].
    ///
    /// # Errors
    /// As [`Prover::invariant`].
    pub async fn equivalent<S: Solver>(&self, other: &Self, solver: &mut CedarSymCompiler<S>) -> Result<Verdict, Trouble> {
        let mut reach = Reach::EveryCatalogue;
        for kind in &self.kinds {
            let theirs = self.compile(&other.set, kind)?;
            if solver.check_equivalent_opt(&kind.anywhere, &theirs).await? {
                continue;
            }
            reach = Reach::ThisCatalogue;
            for (ours, theirs) in self.within(kind)?.iter().zip(&self.compile_within(&other.set, kind)?) {
                if let Some(found) = solver.check_equivalent_with_counterexample_opt(ours, theirs).await? {
                    return self.refuted(&found.request, &Sought::Differing(&other.set));
                }
            }
        }
        Ok(Verdict::Proved(reach))
    }

    /// Whether who and what is there, the lawful basis of each use, and what customers' statements count for are the same.
    #[must_use]
    pub fn beside(&self, other: &Self) -> Vec<Beside> {
        let sides = [self.policies, other.policies];
        let uids: BTreeSet<EntityUid> = sides.iter().flat_map(|side| side.entities.iter().map(Entity::uid)).collect();
        let is_same = |uid: &EntityUid| match sides.map(|side| side.entities.get(uid)) {
            [Some(one), Some(two)] => one.deep_eq(two),
            [None | Some(_), _] => false,
        };
        let catalogue = uids.iter().filter(|uid| !is_same(uid)).map(ToString::to_string).collect();
        let [ours, theirs] = sides.map(bases);
        let uses: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let bases = uses.into_iter().filter(|named| ours.get(*named) != theirs.get(*named)).cloned().collect();
        let rules = sides.map(|side| &side.consent_rules);
        let captures = sides.map(|side| &side.captures);
        let consent = [(rules[0] != rules[1], "consent.toml"), (captures[0] != captures[1], "captures.toml")];
        let consent = consent.into_iter().filter(|(differs, _)| *differs).map(|(_, file)| file.to_owned()).collect();
        vec![
            Beside { what: "catalogue", differing: catalogue },
            Beside { what: "lawful bases", differing: bases },
            Beside { what: "rules of consent", differing: consent },
        ]
    }

    /// Whether a policy ever says anything, may err, or says what others say.
    ///
    /// # Errors
    /// As [`Prover::invariant`].
    pub async fn health<S: Solver>(&self, name: PolicyName, solver: &mut CedarSymCompiler<S>) -> Result<Health, Trouble> {
        let Some(policy) = self.set.policies().find(|policy| AsRef::<str>::as_ref(policy.id()) == name.as_str()) else {
            return Err(Trouble::Broken(format!("there is no policy `{name}`")));
        };
        let mut health = Health { is_dead: true, ..Health::default() };
        for kind in &self.kinds {
            let compiled = CompiledPolicy::compile(policy, &kind.env, &self.policies.schema)?;
            health.may_err = health.may_err || !solver.check_never_errors_opt(&compiled).await?;
            health.is_dead = health.is_dead && solver.check_never_matches_opt(&compiled).await?;
        }
        if !health.is_dead {
            health.is_redundant = self.is_redundant(policy.id(), solver).await?;
        }
        Ok(health)
    }

    async fn is_redundant<S: Solver>(&self, id: &cedar_policy::PolicyId, solver: &mut CedarSymCompiler<S>) -> Result<bool, Trouble> {
        let others = self.set.policies().filter(|policy| policy.id() != id).cloned();
        let others = PolicySet::from_policies(others).map_err(|e| Trouble::broken("the policies without one", &e))?;
        for kind in &self.kinds {
            let without = self.compile(&others, kind)?;
            if !solver.check_equivalent_opt(&kind.anywhere, &without).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn is_vacuous<S: Solver>(&self, condition: &Condition, solver: &mut CedarSymCompiler<S>) -> Result<bool, Trouble> {
        for kind in &self.kinds {
            let met = self.compile(&condition.permit, kind)?;
            if !solver.check_always_denies_opt(&met).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// INVARIANT: nothing is refuted but by a request that plain Cedar answers so.
    fn refuted(&self, found: &cedar_policy::Request, sought: &Sought<'_>) -> Result<Verdict, Trouble> {
        let witness = Witness::of(self.policies, &self.set, found, sought);
        let witness = witness.ok_or_else(|| {
            Trouble::Broken("the solver's counterexample does not hold in plain Cedar: nothing is proved and nothing refuted".to_owned())
        })?;
        Ok(Verdict::Refuted(Box::new(witness)))
    }

    fn compile(&self, set: &PolicySet, kind: &Kind) -> Result<CompiledPolicySet, Trouble> {
        Ok(CompiledPolicySet::compile(set, &kind.env, &self.policies.schema)?)
    }

    fn compile_within(&self, set: &PolicySet, kind: &Kind) -> Result<Vec<CompiledPolicySet>, Trouble> {
        self.world.within(set, kind.env.principal())?.iter().map(|set| self.compile(set, kind)).collect()
    }

    /// The policies as far as the catalogue reaches, for each app; made when first needed, for they are large.
    fn within<'k>(&self, kind: &'k Kind) -> Result<&'k Vec<CompiledPolicySet>, Trouble> {
        if kind.within.get().is_none() {
            let compiled = self.compile_within(&self.set, kind)?;
            // Whoever was first has made the same.
            drop(kind.within.set(compiled));
        }
        kind.within.get().ok_or_else(|| Trouble::Broken("the policies within the catalogue".to_owned()))
    }
}

impl Kind {
    fn new(env: RequestEnv, set: &PolicySet, policies: &Policies) -> Result<Self, Trouble> {
        let anywhere = CompiledPolicySet::compile(set, &env, &policies.schema)?;
        Ok(Self { env, anywhere, within: OnceLock::new() })
    }
}

/// The lawful basis of each use that an active activity covers, by its name.
fn bases(policies: &Policies) -> BTreeMap<String, LawfulBasis> {
    let mut bases = BTreeMap::new();
    for activity in policies.activities() {
        for purpose in &activity.purposes {
            let uses = activity.categories.iter().map(|category| format!("{category} for {purpose} by {}", activity.department));
            bases.extend(uses.map(|named| (named, activity.basis)));
        }
    }
    bases
}

/// Deny: what the policies permit is among what the bound permits. Allow: what the bound permits, the policies permit.
async fn implies<S: Solver>(
    condition: &Condition,
    policies: &CompiledPolicySet,
    bound: &CompiledPolicySet,
    solver: &mut CedarSymCompiler<S>,
) -> Result<bool, Trouble> {
    let (left, right) = if condition.expects_allow { (bound, policies) } else { (policies, bound) };
    Ok(solver.check_implies_opt(left, right).await?)
}
