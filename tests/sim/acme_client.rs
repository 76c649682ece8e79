//! A client that nobody here wrote renews by what the server says (RFC 9773), and says what its orders replace.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AuthorizationStatus, BodyWrapper, BytesResponse, CertificateIdentifier, ChallengeType, Error,
    HttpClient, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy, RevocationRequest,
};
use kit::Verb::{Get, Post};
use serde_json::json;
use tests::desk::Desk;
use x509::{Certificate, RevocationList};

use super::acme::{self, Page};

const HOST: &str = "a.example.com";
/// More than any request of the client has.
const BODY_SIZE_MAX: usize = 1 << 20;

/// The way from the client to the desk, where what is due is done before each request.
struct Door(Arc<Desk>);

impl HttpClient for Door {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let desk = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body =
                to_bytes(Body::new(body), BODY_SIZE_MAX).await.map_err(|error| Error::Other(error.into()))?;
            desk.tick();
            let path = parts.uri.path().strip_prefix("/v1/").expect("the directory names paths of the API");
            let body = std::str::from_utf8(&body).expect("a JWS is text");
            let said = match parts.headers.get("content-type").map(|kind| kind.as_bytes()) {
                Some(b"application/jose+json") => desk.ask_signed(path, body),
                _ => desk.ask_as("", Get, path, ""),
            };
            // What a HEAD of a new nonce is answered with, over HTTP.
            let is_head = parts.method == Method::HEAD && said.status == 204;
            let mut response = Response::builder().status(if is_head { 200 } else { said.status });
            for (name, value) in &said.headers {
                response = response.header(*name, value);
            }
            Ok(BytesResponse::from(response.body(Body::from(said.raw)).expect("headers are headers")))
        })
    }
}

async fn register(desk: &Arc<Desk>) -> Account {
    let builder = Account::builder_with_http(Box::new(Door(Arc::clone(desk))));
    let wanted = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let directory = "https://ca.test/v1/pki/acme/directory".to_owned();
    builder.create(&wanted, directory, None).await.unwrap().0
}

/// A new certificate, which replaces another if that is said.
async fn obtain(
    account: &Account,
    web: &Page,
    replaces: Option<&CertificateIdentifier<'_>>,
) -> Result<Certificate, Error> {
    let names = [Identifier::Dns(HOST.to_owned())];
    let mut wanted = NewOrder::new(&names);
    if let Some(replaces) = replaces {
        wanted = wanted.replaces(replaces.clone());
    }
    let mut order = account.new_order(&wanted).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let mut challenge = authorization.challenge(ChallengeType::Http01).expect("http-01 is offered");
        web.says(challenge.key_authorization().as_str());
        challenge.set_ready().await?;
    }
    let soon = RetryPolicy::new().initial_delay(Duration::from_millis(1));
    assert_eq!(order.poll_ready(&soon).await?, OrderStatus::Ready);
    order.finalize_csr(&acme::csr(HOST)).await?;
    let chain = order.poll_certificate(&soon).await?;
    Ok(Certificate::from_pem(&chain).unwrap())
}

/// What renewal information calls a certificate.
fn named(certificate: &Certificate) -> CertificateIdentifier<'static> {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes).into();
    CertificateIdentifier {
        authority_key_identifier: text(&certificate.authority_key_id().unwrap()),
        serial: text(certificate.serial().as_bytes()),
    }
}

/// The type and status of the problem that the server answered.
#[track_caller]
fn problem(refused: Result<Certificate, Error>) -> (String, Option<u16>) {
    match refused {
        Err(Error::Api(problem)) => (problem.r#type.unwrap_or_default(), problem.status),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was issued"),
    }
}

async fn renew_by_what_the_server_says() {
    let (desk, web) = acme::desk(91);
    let desk = Arc::new(desk);
    let (account, other) = (register(&desk).await, register(&desk).await);
    let first = obtain(&account, &web, None).await.unwrap();
    assert_eq!(first.alt_names().unwrap().dns, [HOST]);

    // Long before its end there is no hurry; when the CA wants it back, there is.
    let (advice, again) = account.renewal_info(&named(&first)).await.unwrap();
    let now = || i64::try_from(desk.seconds()).unwrap();
    assert!(advice.suggested_window.start.unix_timestamp() > now());
    assert!(advice.suggested_window.start < advice.suggested_window.end && again > Duration::ZERO);
    desk.wait(Duration::from_secs(1));
    desk.ask(Post, "pki/reissue", r#"{"issuer_ref":"default"}"#).expect(200);
    let (advice, _) = account.renewal_info(&named(&first)).await.unwrap();
    assert!(advice.suggested_window.end.unix_timestamp() <= now());

    // Whoever has another account replaces nothing; whoever has this one does, once.
    let malformed = "urn:ietf:params:acme:error:malformed";
    assert_eq!(problem(obtain(&other, &web, Some(&named(&first))).await).0, malformed);
    desk.wait(Duration::from_secs(1));
    let second = obtain(&account, &web, Some(&named(&first))).await.unwrap();
    assert_ne!(second.serial(), first.serial());
    let refused = problem(obtain(&account, &web, Some(&named(&first))).await);
    assert_eq!(refused, ("urn:ietf:params:acme:error:alreadyReplaced".to_owned(), Some(409)));
    let (advice, _) = account.renewal_info(&named(&second)).await.unwrap();
    assert!(advice.suggested_window.start.unix_timestamp() > now(), "what came after is good");
    let third = obtain(&account, &web, Some(&named(&second))).await.unwrap();

    // The old one goes, the new ones stay.
    let der = first.der().into();
    account.revoke(&RevocationRequest { certificate: &der, reason: None }).await.unwrap();
    let list = RevocationList::from_der(&desk.ask(Get, "pki/crl", "").expect(200).raw).unwrap();
    assert!(list.revoked_at(first.serial()).is_some());
    for certificate in [&second, &third] {
        assert!(list.revoked_at(certificate.serial()).is_none());
        let serial = certificate.serial().colons();
        let shown = desk.ask(Get, &format!("pki/cert/{serial}"), "").expect(200);
        assert_eq!(shown.json["data"]["revocation_time"], json!(0));
    }
}

#[test]
fn a_client_renews_by_what_the_server_says_and_replaces_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(renew_by_what_the_server_says());
}
