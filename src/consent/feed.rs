//! What goes out about changes names the ledger and its customers by ids that mean nothing elsewhere.

use crate::model::{PartyId, PartyNo};

use super::Ledger;

impl Ledger {
    /// Which ledger this is: made with its database, letters and digits only.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.store_id
    }

    /// A customer's public id.
    #[must_use]
    pub fn party_id(&self, no: PartyNo) -> Option<PartyId> {
        self.reading().party(no).map(|party| party.id.clone())
    }
}
