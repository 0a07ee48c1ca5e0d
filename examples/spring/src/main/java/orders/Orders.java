package orders;

import static org.springframework.security.config.http.SessionCreationPolicy.STATELESS;

import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.jwk.KeyUse;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.jwk.source.RateLimitReachedException;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.DefaultResourceRetriever;
import jakarta.servlet.DispatcherType;
import java.net.MalformedURLException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.Principal;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingDeque;
import java.util.concurrent.LinkedBlockingDeque;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.http.HttpMethod;
import org.springframework.http.HttpStatus;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.oauth2.core.OAuth2AuthenticationException;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.BadJwtException;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtException;
import org.springframework.security.oauth2.jwt.JwtTimestampValidator;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;
import org.springframework.security.oauth2.server.resource.BearerTokenError;
import org.springframework.security.oauth2.server.resource.BearerTokenErrors;
import org.springframework.security.oauth2.server.resource.web.BearerTokenAuthenticationEntryPoint;
import org.springframework.security.oauth2.server.resource.web.DefaultBearerTokenResolver;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.ResponseStatus;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.server.ResponseStatusException;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * A small API that only trusted apps and signed-in users may call, with Spring Boot. Spring Security and Nimbus check the tokens; what they would
 * let through is refused here.
 *
 * <p>{@code ISSUER=http://localhost:8080 AUDIENCE=https://orders.example SERVER_PORT=8090 mvn spring-boot:run}
 *
 * <p>GET /orders needs the scope orders:read, POST /orders needs orders:write. Tokens are checked with the cached keys of the issuer.
 */
@SpringBootApplication
@RestController
public class Orders {
    /** By how much the clocks of the issuer and of this API may differ. */
    private static final Duration LEEWAY = Duration.ofSeconds(30);
    private static final int MAX_KEYS = 256 * 1024, MAX_ORDERS = 10_000, MAX_ITEM = 200;

    /** Reads UTF-8 without duplicate members, which readers could take for different things. */
    private static final JsonMapper STRICT =
        JsonMapper.builder(JsonFactory.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build()).build();

    record NewOrder(String item) {}

    record Order(String item, String owner) {}

    private final BlockingDeque<Order> orders = new LinkedBlockingDeque<>(MAX_ORDERS);

    public static void main(String[] arguments) {
        SpringApplication.run(Orders.class, arguments);
    }

    @GetMapping("/orders")
    List<Order> list(Principal caller) {
        return orders.stream().filter(order -> order.owner().equals(caller.getName())).toList();
    }

    @PostMapping("/orders")
    @ResponseStatus(HttpStatus.CREATED)
    Order create(Principal caller, @RequestBody NewOrder asked) {
        if (asked.item() == null || asked.item().isEmpty() || asked.item().length() > MAX_ITEM)
            throw new ResponseStatusException(HttpStatus.UNPROCESSABLE_CONTENT);
        var order = new Order(asked.item(), caller.getName());
        while (!orders.offer(order)) orders.poll();
        return order;
    }

    @Bean
    SecurityFilterChain security(HttpSecurity http, @Value("${ISSUER}") String issuer) throws Exception {
        var challenges = new BearerTokenAuthenticationEntryPoint();
        var tokens = new DefaultBearerTokenResolver();
        return http
            .authorizeHttpRequests(requests -> requests
                .dispatcherTypeMatchers(DispatcherType.ERROR).permitAll() // the answer to a request that was let in
                .requestMatchers(HttpMethod.GET, "/orders").hasAuthority("SCOPE_orders:read")
                .requestMatchers(HttpMethod.POST, "/orders").hasAuthority("SCOPE_orders:write")
                .anyRequest().denyAll())
            .oauth2ResourceServer(server -> server
                .jwt(jwt -> {})
                .bearerTokenResolver(request -> {
                    // Spring reads the first one, and a proxy may have read the last.
                    if (Collections.list(request.getHeaders("Authorization")).size() > 1)
                        throw new OAuth2AuthenticationException(BearerTokenErrors.invalidRequest("two Authorization headers"));
                    return tokens.resolve(request);
                })
                // What the challenges refer to (RFC 9728). By default it promises tokens that are bound to a client certificate.
                .protectedResourceMetadata(metadata -> metadata.protectedResourceMetadataCustomizer(it -> it
                    .authorizationServer(issuer).scope("orders:read").scope("orders:write").tlsClientCertificateBoundAccessTokens(false)))
                .authenticationEntryPoint((request, response, error) -> {
                    if (isUnavailable(error)) response.setHeader("Retry-After", "10");
                    challenges.commence(request, response, error);
                }))
            .sessionManagement(sessions -> sessions.sessionCreationPolicy(STATELESS))
            .csrf(csrf -> csrf.disable()) // a browser does not add the token by itself
            .build();
    }

    private static boolean isUnavailable(Exception error) {
        return error instanceof OAuth2AuthenticationException refused && refused.getError() instanceof BearerTokenError token
            && token.getHttpStatus() == HttpStatus.SERVICE_UNAVAILABLE;
    }

    @Bean
    JwtDecoder decoder(@Value("${ISSUER}") String issuer, @Value("${AUDIENCE}") String audience) throws MalformedURLException {
        var decoder = NimbusJwtDecoder.withJwkSource(keys(issuer))
            .jwsAlgorithm(SignatureAlgorithm.RS256) // the API's own choice; never the token's
            .jwtProcessorCustomizer(processor ->
                processor.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt"))))
            .build();
        decoder.setJwtValidator(JwtValidators.createAtJwtValidator().issuer(issuer).audience(audience)
            .validators(validators -> validators.put("exp", new JwtTimestampValidator(LEEWAY))).build());
        return token -> {
            if (!isStrict(token, issuer)) throw new BadJwtException("not an access token");
            try {
                return decoder.decode(token);
            } catch (BadJwtException error) {
                throw error;
            } catch (JwtException error) {
                // It is about the keys. Spring would answer 500.
                throw new OAuth2AuthenticationException(new BearerTokenError("temporarily_unavailable", HttpStatus.SERVICE_UNAVAILABLE, null, null), error);
            }
        };
    }

    /** The keys, fetched every 5 minutes and at most twice in 30 s. While the issuer is down, they are used for 50 minutes. */
    private static JWKSource<SecurityContext> keys(String issuer) throws MalformedURLException {
        var url = URI.create(issuer + "/.well-known/jwks.json").toURL();
        var source = JWKSourceBuilder.create(url, new DefaultResourceRetriever(2000, 5000, MAX_KEYS)).outageTolerant(true).build();
        return (selector, context) -> {
            try {
                // Nimbus also takes keys without a use, and does not read the key_ops that say what these are for.
                return source.get(selector, context).stream().filter(key -> KeyUse.SIGNATURE.equals(key.getKeyUse())).toList();
            } catch (RateLimitReachedException error) {
                return List.of(); // the kid is unknown, and the keys were fetched just now
            }
        };
    }

    /**
     * Refuses what Nimbus and Spring accept: other ways to write the same token, members that are there twice, and claims of a wrong type. Tomcat
     * refuses headers of more than 8 KiB.
     */
    private static boolean isStrict(String token, String issuer) {
        String[] parts = token.split("\\.", -1);
        if (parts.length != 3) return false;
        try {
            JsonNode header = STRICT.readTree(decode(parts[0])), claims = STRICT.readTree(decode(parts[1]));
            decode(parts[2]);
            return isText(header.path("kid")) && !header.has("crit") && !header.has("zip")
                && StandardCharsets.UTF_8.newEncoder().canEncode(claims.toString()) // no half of a surrogate pair
                && claims.path("iss").asString("").equals(issuer)
                && isText(claims.path("sub")) && isText(claims.path("client_id")) && isText(claims.path("jti"))
                && isTime(claims.path("exp")) && isTime(claims.path("iat")) && (!claims.has("nbf") || isTime(claims.path("nbf")))
                && claims.path("iat").asLong() <= Instant.now().plus(LEEWAY).getEpochSecond()
                && (!claims.has("scope") || claims.path("scope").isString())
                && !claims.has("cnf"); // valid only with proof of possession of a key
        } catch (RuntimeException error) {
            return false;
        }
    }

    /** A part of a token. There is one way to write it: base64url without padding, line breaks or unused bits. */
    private static byte[] decode(String part) {
        byte[] decoded = Base64.getUrlDecoder().decode(part);
        if (!Base64.getUrlEncoder().withoutPadding().encodeToString(decoded).equals(part)) throw new IllegalArgumentException("not base64url");
        return decoded;
    }

    private static boolean isText(JsonNode claim) {
        return claim.isString() && !claim.asString().isEmpty();
    }

    private static boolean isTime(JsonNode claim) {
        return claim.isIntegralNumber() && claim.canConvertToLong() && claim.asLong() > 0;
    }
}
