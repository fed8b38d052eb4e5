//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
)

// namespace is where the simulated agents' pods are.
const namespace = "lastcall"

// api is the little of an API server that a hub asks: it lists nodes and agents' pods, in protobuf, and nothing changes.
func api(s shape) (http.Handler, error) {
	nodes := &corev1.NodeList{ListMeta: metav1.ListMeta{ResourceVersion: "1000"}}
	pods := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "1000"}}
	var images []corev1.ContainerImage // as a kubelet reports: most of a Node
	for i := range 50 {
		name := fmt.Sprintf("registry.example.com/team-%d/some-application", i)
		images = append(images, corev1.ContainerImage{Names: []string{name + fmt.Sprintf("@sha256:%064x", i), name + ":v1"}, SizeBytes: 1 << 27})
	}
	for i := range s.Agents {
		nodes.Items = append(nodes.Items, corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: nodeName(i), UID: types.UID(nodeUID(i)), ResourceVersion: "1000"},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}, Images: images},
		})
		pods.Items = append(pods.Items, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("lastcall-agent-%05d", i), Namespace: namespace, ResourceVersion: "1000"},
			Spec:       corev1.PodSpec{NodeName: nodeName(i), Containers: []corev1.Container{{Name: "agent"}}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, HostIP: address(i).String()},
		})
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	codecs := serializer.NewCodecFactory(scheme)
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	encoder := codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion)
	mux := http.NewServeMux()
	for path, list := range map[string]runtime.Object{"GET /api/v1/nodes": nodes, "GET /api/v1/namespaces/" + namespace + "/pods": pods} {
		text, err := runtime.Encode(encoder, list)
		if err != nil {
			return nil, err
		}
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.FormValue("sendInitialEvents") == "true":
				// As a server that cannot: client-go lists instead.
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusUnprocessableEntity)
				json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, //nolint:errcheck // the reader has left
					Status: metav1.StatusFailure, Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity})
			case r.FormValue("watch") != "":
				w.Header().Set("Content-Type", runtime.ContentTypeProtobuf+";stream=watch")
				http.NewResponseController(w).Flush() //nolint:errcheck // the reader has left
				<-r.Context().Done()
			default:
				w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
				w.Write(text) //nolint:errcheck // the reader has left
			}
		})
	}
	return mux, nil
}
