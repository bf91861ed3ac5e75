package remediators

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// The defaults of a webhook.
const (
	defaultWebhookTimeout = 5 * time.Second
	defaultWebhookRetries = 2
	maxWebhookRetries     = 10
)

// WebhookConfig is one receiver of templated requests.
type WebhookConfig struct {
	Name   string       `yaml:"name"` // lever name that targets use
	Schema SchemaConfig `yaml:"schema"`
	// SecretFile holds the key of the HMAC-SHA256 signature; it is read again
	// at each request. Empty means that requests are not signed.
	SecretFile string                      `yaml:"secret_file"`
	HTTP       promconfig.HTTPClientConfig `yaml:"http_config"`
	Timeout    model.Duration              `yaml:"timeout"` // of one attempt; 0 means 5s
	Retries    *int                        `yaml:"retries"` // further attempts where they are safe; default 2
	Apply      WebhookRequest              `yaml:"apply"`
	Revert     *WebhookRequest             `yaml:"revert"` // without one the action cannot be undone
	Probe      *WebhookProbe               `yaml:"probe"`  // without one the ledger stands for the state
}

// UnmarshalYAML reads the section over its defaults.
func (c *WebhookConfig) UnmarshalYAML(unmarshal func(any) error) error {
	type plain WebhookConfig
	*c = WebhookConfig{HTTP: promconfig.DefaultHTTPClientConfig}
	return unmarshal((*plain)(c))
}

// WebhookRequest is the template of one request.
type WebhookRequest struct {
	Method  string            `yaml:"method"`  // default POST
	URL     string            `yaml:"url"`     // template; scheme and host are literal but for {{ .service }}
	Headers map[string]string `yaml:"headers"` // templates; secrets belong in http_config
	Body    string            `yaml:"body"`    // template
	Expect  []int             `yaml:"expect"`  // statuses of success; default 200, 201, 202, 204
}

// WebhookProbe is a request that reads, and where the answer is in its JSON.
type WebhookProbe struct {
	Method  string            `yaml:"method"` // default GET
	URL     string            `yaml:"url"`
	Headers map[string]string `yaml:"headers"`
	Body    string            `yaml:"body"`
	Expect  []int             `yaml:"expect"` // default 200
	// Params are JSON pointers (RFC 6901) to the settings in force, by parameter.
	Params map[string]string `yaml:"params"`
	// Epoch is a JSON pointer to the highest fencing token that the receiver has
	// accepted; empty where it keeps none.
	Epoch string `yaml:"epoch"`
}

func (p WebhookProbe) request() WebhookRequest {
	r := WebhookRequest{Method: p.Method, URL: p.URL, Headers: p.Headers, Body: p.Body, Expect: p.Expect}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if len(r.Expect) == 0 {
		r.Expect = []int{http.StatusOK}
	}
	return r
}

func (r WebhookRequest) withDefaults() WebhookRequest {
	if r.Method == "" {
		r.Method = http.MethodPost
	}
	if len(r.Expect) == 0 {
		r.Expect = []int{http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent}
	}
	return r
}

func (c WebhookConfig) retries() int {
	if c.Retries == nil {
		return defaultWebhookRetries
	}
	return *c.Retries
}

func (c WebhookConfig) timeout() time.Duration {
	if c.Timeout == 0 {
		return defaultWebhookTimeout
	}
	return time.Duration(c.Timeout)
}

func (c WebhookConfig) validate() sre.Faults {
	var f sre.Faults
	f.Under("schema", c.Schema.validate())
	client := c.HTTP // Validate moves fields about
	if err := client.Validate(); err != nil {
		f.Add("http_config", err.Error(), "")
	}
	if c.Timeout < 0 {
		f.Add("timeout", "is negative", "a duration such as 5s")
	}
	if n := c.retries(); n < 0 || n > maxWebhookRetries {
		f.Add("retries", "is out of range", "0 to 10")
	}
	f.Under("apply", c.Apply.withDefaults().validate())
	if c.Revert != nil {
		f.Under("revert", c.Revert.withDefaults().validate())
	}
	if c.Probe != nil {
		f.Under("probe", c.Probe.validate(c.Schema))
	}
	return f
}

func (p WebhookProbe) validate(s SchemaConfig) sre.Faults {
	r := p.request()
	f := r.validate()
	for _, param := range s.Params {
		if _, read := p.Params[param.Name]; !read {
			f.Add("params."+param.Name, "is missing", "a JSON pointer such as /flag/percent")
		}
	}
	for _, name := range sortedKeys(p.Params) {
		if !slices.ContainsFunc(s.Params, func(c ParamConfig) bool { return c.Name == name }) {
			f.Add("params."+name, "is no parameter of the schema", "the parameters of the schema")
		}
		if !validPointer(p.Params[name]) {
			f.Add("params."+name, "is not a JSON pointer", "a path such as /flag/percent")
		}
	}
	if p.Epoch != "" && !validPointer(p.Epoch) {
		f.Add("epoch", "is not a JSON pointer", "a path such as /epoch")
	}
	return f
}

var (
	webhookMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	serviceAction  = regexp.MustCompile(`\{\{-?\s*\.service\s*-?\}\}`)
	literalHost    = regexp.MustCompile(`^https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?[/?]|^https?://\[[0-9A-Fa-f:]+\](:[0-9]+)?[/?]`)
	headerName     = regexp.MustCompile(`^[A-Za-z0-9-]{1,100}$`)
	// credentialHeaders would stand in the configuration, and in the command for
	// people, in the clear.
	credentialHeaders = []string{"Authorization", "Cookie", "Proxy-Authorization", keyHeader, signatureHeader, "Host", "Content-Length"}
)

func (r WebhookRequest) validate() sre.Faults {
	var f sre.Faults
	if !slices.Contains(webhookMethods, r.Method) {
		f.Add("method", "is not a method", strings.Join(webhookMethods, ", "))
	}
	host, _, more := strings.Cut(serviceAction.ReplaceAllString(r.URL, "service"), "{{")
	if !more {
		host += "/" // without one the host ends with the URL; with a value behind it, it would not
	}
	if !literalHost.MatchString(host) {
		f.Add("url", "is not a URL whose scheme and host stand in it", "such as https://flags.example/{{ .service | path }}, or a host with {{ .service }}")
	}
	for _, h := range sortedKeys(r.Headers) {
		switch {
		case !headerName.MatchString(h):
			f.Add("headers."+h, "is not a header name", "letters, digits and -")
		case slices.ContainsFunc(credentialHeaders, func(c string) bool { return strings.EqualFold(c, h) }):
			f.Add("headers."+h, "is set by the lever or is a credential", "credentials in http_config, keys in secret_file")
		}
	}
	for i, status := range r.Expect {
		if status < 200 || status > 599 || status >= 300 && status < 400 {
			f.Add(sre.Item("expect", i), "is not a status of success", "200 to 299, or a 4xx that means the same here")
		}
	}
	if _, err := compileRequest(r); err != nil {
		f.Add("", "holds a template that cannot be read: "+err.Error(), "text/template with json, path, query, rfc3339, unix")
	}
	return f
}
