package watcher

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	benchServices  = 10_000
	benchEndpoints = 10
)

// BenchmarkStateHeap is what the state of a large cluster weighs, in a steady state in which every
// object came from the decoder: strings are not shared with a fixture.
func BenchmarkStateHeap(b *testing.B) {
	for b.Loop() {
		before := heap()
		s := benchState(b)
		after := heap()
		b.ReportMetric(float64(after-before)/(1<<20), "MiB")
		b.ReportMetric(float64(after-before)/(benchServices*benchEndpoints), "B/endpoint")
		runtime.KeepAlive(s)
	}
}

// BenchmarkSliceEvent is one endpoint of ten that begins to terminate, from decoded object to changes.
func BenchmarkSliceEvent(b *testing.B) {
	s := benchState(b)
	on, off := benchSlice(7), benchSlice(7)
	off.Endpoints[3].Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
	at := epoch
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		es := on
		if i%2 == 0 {
			es = off
		}
		at = at.Add(time.Millisecond)
		s.set(trim(es, at).(*object))
	}
}

// BenchmarkSweep is what the event waits for whose departure is one too many to remember.
func BenchmarkSweep(b *testing.B) {
	s := benchState(b)
	for i := range 1000 {
		s.departures.known[fmt.Sprint("gone-", i)] = departure{shown, epoch}
	}
	for b.Loop() {
		s.sweep(epoch)
	}
}

func benchState(b *testing.B) *state {
	s := newState("node-1")
	for i := range benchServices {
		for _, o := range []metav1.Object{benchService(i), benchSlice(i)} {
			var wire interface {
				Marshal() ([]byte, error)
				Unmarshal([]byte) error
			}
			switch o := o.(type) {
			case *corev1.Service:
				wire = o
			case *discoveryv1.EndpointSlice:
				wire = o
			}
			data, err := wire.Marshal()
			if err != nil {
				b.Fatal(err)
			}
			switch o.(type) {
			case *corev1.Service:
				d := &corev1.Service{}
				err = d.Unmarshal(data)
				s.set(trim(d, epoch).(*object))
			case *discoveryv1.EndpointSlice:
				d := &discoveryv1.EndpointSlice{}
				err = d.Unmarshal(data)
				s.set(trim(d, epoch).(*object))
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	s.arm(epoch)
	return s
}

func benchService(i int) *corev1.Service {
	ip := fmt.Sprintf("10.96.%d.%d", i/250, i%250+1)
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprint("team-", i%50), Name: fmt.Sprint("service-", i), ResourceVersion: "1234567"},
		Spec: corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}, IPFamilies: []corev1.IPFamily{"IPv4"},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: "TCP", Port: 80}}},
	}
}

func benchSlice(i int) *discoveryv1.EndpointSlice {
	es := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprint("team-", i%50), Name: fmt.Sprintf("service-%d-x7k2p", i), ResourceVersion: "1234568",
			Labels: map[string]string{discoveryv1.LabelServiceName: fmt.Sprint("service-", i)}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}},
	}
	for j := range benchEndpoints {
		n := i*benchEndpoints + j
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("10.%d.%d.%d", 128+n/62500, n/250%250, n%250+1)},
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			NodeName:   new(fmt.Sprint("node-", n%1000)),
			Zone:       new(fmt.Sprint("zone-", n%3)),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: es.Namespace, Name: fmt.Sprintf("service-%d-5c9d7f6b8-x%04d", i, j),
				UID: types.UID(fmt.Sprintf("%08x-5c9d-4f6b-8a01-%012x", i, n))},
		})
	}
	return es
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkDepartures is what pods that left weigh: of so many that as many again have been forgotten, and then of twice as many, which
// weigh no more.
func BenchmarkDepartures(b *testing.B) {
	for b.Loop() {
		s := newState("node-1")
		s.set(trim(benchService(0), epoch).(*object))
		es := benchSlice(0)
		s.set(trim(es, epoch).(*object))
		s.arm(epoch)
		at, n := epoch, 0
		leave := func(pods int) float64 {
			for range pods {
				es = es.DeepCopy()
				ep := &es.Endpoints[n%benchEndpoints]
				ep.Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
				at = at.Add(100 * time.Millisecond)
				s.set(trim(es, at).(*object))
				es = es.DeepCopy()
				ep = &es.Endpoints[n%benchEndpoints]
				ep.Addresses = []string{fmt.Sprintf("10.%d.%d.%d", 200+n/62500, n/250%250, n%250+1)}
				ep.Conditions = discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)}
				if ep.TargetRef != nil {
					ep.TargetRef.UID = types.UID(fmt.Sprintf("%08d-0000-4000-8000-000000000000", n))
				}
				at = at.Add(100 * time.Millisecond)
				s.set(trim(es, at).(*object))
				n++
			}
			return float64(heap()) / (1 << 20)
		}
		before := float64(heap()) / (1 << 20)
		few, all, more := leave(leftMax/2), leave(leftMax/2+leftMax), leave(2*leftMax)
		b.ReportMetric((few-before)*(1<<20)/(leftMax/2), "B/departure")
		b.ReportMetric(all-before, "MiB-after-75k")
		b.ReportMetric(more-before, "MiB-after-175k")
		runtime.KeepAlive(s)
	}
}
