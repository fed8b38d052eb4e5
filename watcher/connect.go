package watcher

import (
	"fmt"
	"io"
	"net/http"
	"path"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
)

// connect prepares the clients, one for each API group. They share connections.
func (w *Watcher) connect() error {
	cfg := rest.CopyConfig(w.cfg.Client)
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	cfg.WarningHandler = rest.NoWarnings{}
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper { return metered{rt, w.cfg.Received} })
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(discoveryv1.AddToScheme(scheme))
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	cfg.NegotiatedSerializer = stamping{serializer.NewCodecFactory(scheme).WithoutConversion()}

	var err error
	if w.http, err = rest.HTTPClientFor(cfg); err != nil {
		return fmt.Errorf("watcher: prepare the connection to the API server: %w", err)
	}
	client := func(gv schema.GroupVersion, apiPath string) *rest.RESTClient {
		c := rest.CopyConfig(cfg)
		c.GroupVersion, c.APIPath = &gv, apiPath
		rc, e := rest.RESTClientForConfigAndClient(c, w.http)
		if e != nil {
			err = fmt.Errorf("watcher: prepare the client for %s: %w", gv, e)
		}
		return rc
	}
	core := client(corev1.SchemeGroupVersion, "/api")
	discovery := client(discoveryv1.SchemeGroupVersion, "/apis")
	w.resources = []*resource{
		{name: "services", kind: services, client: core,
			labels: ServiceLabels, fields: ServiceFields},
		{name: "endpointslices", kind: endpointSlices, client: discovery,
			labels: SliceLabels},
		{name: "pods", kind: pods, client: core,
			fields: fields.OneTermEqualSelector("spec.nodeName", w.cfg.Node).String()},
		{name: "nodes", kind: nodes, client: core,
			fields: fields.OneTermEqualSelector("metadata.name", w.cfg.Node).String()},
	}
	if w.cfg.Headless {
		w.resources[services].fields, w.resources[endpointSlices].labels = "", ""
	}
	if w.cfg.EndpointsAlone {
		w.resources = w.resources[:endpointSlices+1]
	}
	return err
}

// labelProxyName marks Services that another proxy than kube-proxy serves.
const labelProxyName = "service.kubernetes.io/service-proxy-name"

// stamping makes decoders that note receipt, and trim what they decoded before anyone holds it. For
// a watch the decoder is called as soon as the bytes of one event are complete, two goroutines ahead
// of the store.
type stamping struct{ runtime.NegotiatedSerializer }

func (s stamping) DecoderToVersion(d runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return stampingDecoder{s.NegotiatedSerializer.DecoderToVersion(d, gv)}
}

type stampingDecoder struct{ runtime.Decoder }

func (d stampingDecoder) Decode(data []byte, gvk *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	at := time.Now()
	obj, kind, err := d.Decoder.Decode(data, gvk, into)
	return trim(obj, at), kind, err
}

// metered counts what is read from responses, by the resource that ends the request's path.
type metered struct {
	http.RoundTripper
	received func(string, int)
}

func (m metered) RoundTrip(q *http.Request) (*http.Response, error) {
	a, err := m.RoundTripper.RoundTrip(q)
	if err == nil {
		a.Body = meteredBody{a.Body, path.Base(q.URL.Path), m.received}
	}
	return a, err
}

// WrappedRoundTripper lets client-go find the transport, to close its idle connections.
func (m metered) WrappedRoundTripper() http.RoundTripper { return m.RoundTripper }

type meteredBody struct {
	io.ReadCloser
	resource string
	received func(string, int)
}

func (b meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.received(b.resource, n)
	}
	return n, err
}
