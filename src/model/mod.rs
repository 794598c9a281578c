//! The vocabulary every room speaks: plain data, no I/O, no clock, no policy. Rooms name this module and never each other.

mod consent;
mod decision;
mod export;
mod finding;
mod json;
mod name;
mod party;
mod shape;
mod vocabulary;

pub use consent::{Author, Capture, ConflictRule, ConsentRules};
pub use decision::{
    Activity, Caller, CategoryVerdict, ClientKind, Emergency, Employee, Grounds, Judged, Particulars, Question, Release, Verdicts, Whom, Why,
};
pub use export::{EventFormat, ExportFormat};
pub use finding::{Finding, Findings, suggest};
pub use json::{is_duplicate, unique_json};
pub use name::{
    ActivityKey, ApiName, Category, Client, Department, IssuerName, Model, Name, PolicyName, Purpose, Role, RouteKey, ShapeName, Space, Task,
    UpstreamName,
};
pub use party::{EventId, Identifier, PartyFacts, PartyId, PartyNo, Revision};
pub use shape::{
    BodyKind, BodyType, CountRule, Field, FieldRule, Framing, Mask, OnDeny, PathPattern, RequestPlan, ResponsePlan, Several, Shape, Shapes, Step,
    Subject,
};
pub(crate) use vocabulary::closed;
pub use vocabulary::{
    Action, Age, AgentInfo, Art9Basis, Behalf, CategoryInfo, Channel, ClientInfo, ConsentStatus, DepartmentInfo, Environment, LawfulBasis,
    NO_CUSTOMER_BASIS, NO_CUSTOMER_DATA, PurposeInfo, Segment, Sensitivity, Stage, TaskInfo, Term, Vocabulary,
};
