import com.nimbusds.jose.*;
import com.nimbusds.jose.crypto.MACVerifier;
import com.nimbusds.jose.crypto.RSASSAVerifier;
import com.nimbusds.jose.jwk.source.*;
import com.nimbusds.jose.proc.*;
import com.nimbusds.jose.util.DefaultResourceRetriever;
import com.nimbusds.jose.util.X509CertUtils;
import com.nimbusds.jwt.*;
import com.nimbusds.jwt.proc.*;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URL;
import java.nio.file.*;
import java.security.interfaces.RSAPublicKey;
import java.util.*;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.*;

/** A small API, set up right with one of two libraries, or with one hole: Api LIBRARY HOLE. It prints the port on which it listens. */
class Api {
    static final String ISSUER = System.getenv("ISSUER"), AUDIENCE = System.getenv("AUDIENCE"), SCOPE = "orders:read";
    static final Set<String> REQUIRED = Set.of("exp", "iat", "sub", "client_id", "jti");

    interface Check {
        /** The scope of a valid token. */
        Object scope(String token) throws Exception;
    }

    static JWKSource<SecurityContext> keys() throws Exception {
        URL url = URI.create(ISSUER + "/.well-known/jwks.json").toURL();
        return JWKSourceBuilder.create(url, new DefaultResourceRetriever(2000, 5000, 50 * 1024)).rateLimited(true).build();
    }

    static Check spring() throws Exception {
        var decoder = NimbusJwtDecoder.withJwkSource(keys()).jwsAlgorithm(SignatureAlgorithm.RS256)
            // The validator below checks typ.
            .jwtProcessorCustomizer(processor -> processor.setJWSTypeVerifier((type, context) -> {}))
            .build();
        decoder.setJwtValidator(JwtValidators.createAtJwtValidator().issuer(ISSUER).audience(AUDIENCE).build());
        return token -> {
            Jwt jwt = decoder.decode(token);
            if (jwt.getHeaders().get("kid") == null || jwt.hasClaim("cnf")) throw new BadJwtException("not a plain access token");
            return jwt.getClaim("scope");
        };
    }

    static Check nimbus(String hole) throws Exception {
        var processor = new DefaultJWTProcessor<SecurityContext>();
        processor.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt")));
        processor.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.RS256, keys()));
        var prohibited = hole.equals("bound") ? Set.<String>of() : Set.of("cnf");
        var claimsVerifier = new DefaultJWTClaimsVerifier<>(
            Set.of(AUDIENCE), new JWTClaimsSet.Builder().issuer(ISSUER).build(), REQUIRED, prohibited);
        processor.setJWTClaimsSetVerifier(claimsVerifier);
        Map<String, Object> remembered = new ConcurrentHashMap<>();
        return token -> {
            SignedJWT jwt = SignedJWT.parse(token);
            // The developers' machines have a key each, in a file of its name.
            if (hole.equals("key-file") && jwt.getHeader().getAlgorithm().equals(JWSAlgorithm.HS256)) {
                byte[] key = Files.readAllBytes(Path.of("keys").resolve(jwt.getHeader().getKeyID()).normalize());
                if (!jwt.verify(new AnyLength(key))) throw new BadJWTException("signature");
                claimsVerifier.verify(jwt.getJWTClaimsSet(), null);
                return jwt.getJWTClaimsSet().getStringClaim("scope");
            }
            if (hole.equals("certificate") && jwt.getHeader().getX509CertChain() != null) {
                var certificate = X509CertUtils.parse(jwt.getHeader().getX509CertChain().get(0).decode());
                if (!jwt.verify(new RSASSAVerifier((RSAPublicKey) certificate.getPublicKey()))) throw new BadJWTException("signature");
                claimsVerifier.verify(jwt.getJWTClaimsSet(), null);
                return jwt.getJWTClaimsSet().getStringClaim("scope");
            }
            String jti = jwt.getJWTClaimsSet().getJWTID();
            if (hole.equals("remembers-jti") && jti != null && remembered.containsKey(jti)) return remembered.get(jti);
            JWTClaimsSet claims = processor.process(jwt, null);
            if (jwt.getHeader().getKeyID() == null || claims.getExpirationTime() == null) throw new BadJWTException("not an access token");
            Object scope = claims.getStringClaim("scope");
            if (scope != null) remembered.put(claims.getJWTID(), scope);
            return scope;
        };
    }

    /** HMAC with a key that may be empty, which Nimbus refuses and many others do not. */
    record AnyLength(byte[] key) implements JWSVerifier {
        @Override
        public boolean verify(JWSHeader header, byte[] signed, com.nimbusds.jose.util.Base64URL signature) throws JOSEException {
            try {
                // By RFC 2104, a short key is filled with zeros.
                var mac = javax.crypto.Mac.getInstance("HmacSHA256");
                mac.init(new javax.crypto.spec.SecretKeySpec(Arrays.copyOf(key, 64), "HmacSHA256"));
                return Arrays.equals(mac.doFinal(signed), signature.decode());
            } catch (java.security.GeneralSecurityException error) {
                throw new JOSEException(error.getMessage(), error);
            }
        }

        @Override
        public Set<JWSAlgorithm> supportedJWSAlgorithms() {
            return Set.of(JWSAlgorithm.HS256);
        }

        @Override
        public com.nimbusds.jose.jca.JCAContext getJCAContext() {
            return new com.nimbusds.jose.jca.JCAContext();
        }
    }

    static int status(HttpExchange request, Check check) {
        String header = Objects.requireNonNullElse(request.getRequestHeaders().getFirst("Authorization"), "");
        String[] words = header.split(" ", 2);
        if (words.length < 2 || !words[0].equalsIgnoreCase("Bearer")) return 401;
        try {
            Object scope = check.scope(words[1]);
            return scope instanceof String granted && Arrays.asList(granted.split(" ")).contains(SCOPE) ? 200 : 403;
        } catch (JWKSetUnavailableException error) {
            return 503;
        } catch (Exception error) {
            return 401;
        }
    }

    public static void main(String[] arguments) throws Exception {
        Check check = arguments[0].equals("spring") ? spring() : nimbus(arguments[1]);
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        server.createContext("/", request -> {
            int status = request.getRequestURI().getPath().equals("/orders") ? status(request, check) : 404;
            if (status == 401 || status == 403) request.getResponseHeaders().set("WWW-Authenticate", "Bearer");
            byte[] body = status == 200 && !request.getRequestMethod().equals("HEAD") ? "all orders".getBytes() : new byte[0];
            request.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
            request.getResponseBody().write(body);
            request.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
        System.out.println(server.getAddress().getPort());
    }
}
