-- Asks `sealwright guard` about each request. HAProxy 2.6 or later; docs/gateways.md explains it.

local TOKEN_HEADERS = { "x-token-subject", "x-token-client", "x-token-scope", "x-token-issuer", "x-token-claims" }
-- What is about the connection or the body of the request, and not about the request that is checked.
local NOT_PASSED_ON = { "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade" }

local function refuse(txn, status, headers, body)
    local reply = txn:reply({ status = status, body = body })
    for _, name in ipairs({ "www-authenticate", "retry-after", "content-type", "cache-control", "x-request-id" }) do
        for _, value in pairs(headers[name] or {}) do
            reply:add_header(name, value)
        end
    end
    txn:done(reply)
end

core.register_action("guard", { "http-req" }, function(txn, url)
    -- Each is a list of values, so a header that was sent twice stays so.
    local headers = txn.http:req_get_headers()
    for _, name in ipairs(NOT_PASSED_ON) do
        headers[name] = nil
    end
    headers["x-original-method"] = { txn.f:method() }
    headers["x-original-uri"] = { txn.f:pathq() }
    local forwarded = headers["x-forwarded-for"] or {}
    table.insert(forwarded, txn.f:src())
    headers["x-forwarded-for"] = forwarded

    local asked, answer = pcall(function()
        return core.httpclient():get({ url = url, headers = headers })
    end)
    local status = asked and answer.status or 0
    if status == 200 then
        for _, name in ipairs(TOKEN_HEADERS) do
            -- Also without a value, so that the caller's is gone.
            txn.http:req_del_header(name)
            local value = answer.headers[name] and answer.headers[name][0] or ""
            if value ~= "" then
                txn.http:req_set_header(name, value)
            end
        end
        txn:set_var("txn.admitted", true)
    elseif status >= 400 and status <= 599 then
        refuse(txn, status, answer.headers, answer.body)
    else
        refuse(txn, 503, { ["retry-after"] = { "1" } }, "")
    end
end, 1)
