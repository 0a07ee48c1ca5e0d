import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.DefaultResourceRetriever;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import java.net.URI;
import java.util.Set;

class Nimbus {
    public static void main(String[] arguments) throws Exception {
        var retriever = new DefaultResourceRetriever(2000, 5000, 50 * 1024);
        var keys = JWKSourceBuilder.<SecurityContext>create(URI.create(Lines.JWKS_URI).toURL(), retriever);
        if (Lines.DIVISOR > 1) {
            // The defaults of JWKSourceBuilder; a set is cached for a second at least.
            long cached = Math.max(JWKSourceBuilder.DEFAULT_CACHE_TIME_TO_LIVE / Lines.DIVISOR, 1000);
            keys.cache(cached, cached - cached / 10).refreshAheadCache(cached / 10, false)
                .rateLimited(Math.max(JWKSourceBuilder.DEFAULT_RATE_LIMIT_MIN_INTERVAL / Lines.DIVISOR, 1));
        }
        var processor = new DefaultJWTProcessor<SecurityContext>();
        processor.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt")));
        processor.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.RS256, keys.build()));
        processor.setJWTClaimsSetVerifier(new DefaultJWTClaimsVerifier<>(Set.of(Lines.AUDIENCE),
            new JWTClaimsSet.Builder().issuer(Lines.ISSUER).build(), Set.of("exp", "iat", "sub", "client_id", "jti"), Set.of("cnf")));
        Lines.verifyEach(token -> processor.process(token, null));
    }
}
