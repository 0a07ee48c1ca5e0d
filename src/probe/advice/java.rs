//! Libraries for Java.

use crate::probe::kind::Kind;

/// Spring Security's `NimbusJwtDecoder`, version 7.
pub(super) const fn spring(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Algorithm => "NimbusJwtDecoder.withJwkSetUri(..).jwsAlgorithm(SignatureAlgorithm.RS256)",
        Kind::Key | Kind::KeyFromToken | Kind::SecondKey | Kind::Fetch | Kind::CachedToken => {
            "a bean NimbusJwtDecoder.withJwkSetUri(issuer + \"/.well-known/jwks.json\").build(), and .oauth2ResourceServer(server -> server.jwt(Customizer.withDefaults()))"
        }
        Kind::Type => {
            "decoder with .validateType(false), and decoder.setJwtValidator(JwtValidators.createAtJwtValidator().issuer(issuer).audience(audience).build())"
        }
        Kind::Audience => "decoder.setJwtValidator(JwtValidators.createAtJwtValidator().audience(audience).issuer(issuer).build())",
        Kind::Issuer => "decoder.setJwtValidator(JwtValidators.createAtJwtValidator().issuer(issuer).audience(audience).build())",
        Kind::Expiry | Kind::NotBefore => {
            "leave JwtTimestampValidator in the validators, with at most Duration.ofSeconds(60); createAtJwtValidator() has it"
        }
        Kind::Claims => "decoder.setJwtValidator(JwtValidators.createAtJwtValidator()..build()), which requires the claims of RFC 9068",
        Kind::Binding => "a validator that fails if jwt.hasClaim(\"cnf\")",
        Kind::Scope => ".requestMatchers(HttpMethod.GET, \"/orders\").hasAuthority(\"SCOPE_orders:read\")",
        Kind::KeyFetches => {
            "NimbusJwtDecoder.withJwkSource(JWKSourceBuilder.create(url).rateLimited(true).build()): withJwkSetUri has no limit (Spring Security 7). In place of validateType(false): .jwtProcessorCustomizer(processor -> processor.setJWSTypeVerifier((type, context) -> {}))"
        }
        Kind::TokenPlace => "leave setAllowUriQueryParameter and setAllowFormEncodedBodyParameter of DefaultBearerTokenResolver at false",
        Kind::Path | Kind::Method => ".anyRequest().authenticated() as the last rule, instead of a list of protected paths",
        _ => return None,
    })
}

/// Nimbus JOSE+JWT: `processor` is a `DefaultJWTProcessor`.
pub(super) const fn nimbus(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Algorithm => "processor.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.RS256, keys))",
        Kind::Key | Kind::CachedToken => "processor.process(jwt, null) for each token: SignedJWT.parse verifies nothing",
        Kind::KeyFromToken | Kind::SecondKey | Kind::Fetch => {
            "keys = JWKSourceBuilder.create(url, retriever).build() with the configured address, once"
        }
        Kind::Type => "processor.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType(\"at+jwt\")))",
        Kind::Audience | Kind::Issuer | Kind::Claims | Kind::Expiry => {
            "processor.setJWTClaimsSetVerifier(new DefaultJWTClaimsVerifier<>(Set.of(audience), new JWTClaimsSet.Builder().issuer(issuer).build(), Set.of(\"exp\", \"iat\", \"sub\", \"client_id\", \"jti\"), Set.of(\"cnf\")))"
        }
        Kind::Binding => "new DefaultJWTClaimsVerifier<>(.., Set.of(\"cnf\")): the last argument lists prohibited claims",
        Kind::NotBefore => {
            "leave DefaultJWTClaimsVerifier in place, with at most 60 s of setMaxClockSkew; it does not check iat: refuse claims.getIssueTime() more than 60 s ahead"
        }
        Kind::Critical => "leave processor.process in place, which refuses what crit lists",
        Kind::Scope => "if (!Arrays.asList(claims.getStringClaim(\"scope\").split(\" \")).contains(scope)) answer 403",
        Kind::KeyFetches => "JWKSourceBuilder.create(url, retriever).rateLimited(true): two fetches in 30 s, the default",
        Kind::Crash => {
            "catch (Exception error) around processor.process: a token whose header is null causes a NullPointerException; answer 401"
        }
        _ => return None,
    })
}
