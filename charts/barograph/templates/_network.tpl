{{/* Egress rules by what is reached; of the quickstart's servers, or of one's own. */}}

{{/* (dict context component port peers ownPort) -> one rule */}}
{{- define "barograph.egress.server" -}}
{{- if .context.Values.quickstart.enabled -}}
- to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ .context.Release.Namespace | quote }}}}
      podSelector: {matchLabels: {{ include "barograph.selector" (list .context .component) | fromYaml | toJson }}}
  ports: [{port: {{ .port }}}]
{{- else -}}
- ports: [{port: {{ .ownPort }}}]
  {{- with .peers }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "barograph.egress.broker" -}}
{{- include "barograph.egress.server" (dict "context" . "component" "rabbitmq" "port" 5672 "ownPort" .Values.broker.port "peers" .Values.networkPolicy.broker) -}}
{{- end -}}
{{- define "barograph.egress.objectStore" -}}
{{- include "barograph.egress.server" (dict "context" . "component" "seaweedfs" "port" 8333 "ownPort" .Values.objectStore.port "peers" .Values.networkPolicy.objectStore) -}}
{{- end -}}
{{- define "barograph.egress.database" -}}
{{- include "barograph.egress.server" (dict "context" . "component" "postgresql" "port" 5432 "ownPort" .Values.database.port "peers" .Values.networkPolicy.database) -}}
{{- end -}}

{{- define "barograph.egress.names" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end -}}

{{- define "barograph.egress.apiServer" -}}
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - port: {{ . }}
    {{- end }}
  {{- with .Values.networkPolicy.apiServer }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "barograph.egress.mail" -}}
- ports: [{port: 25}, {port: 465}, {port: 587}]
  {{- with .Values.networkPolicy.mail }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "barograph.egress.traces" -}}
- ports: [{port: {{ .Values.traces.port }}}]
  {{- with .Values.networkPolicy.traces }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The client shows what the healer keeps. */}}
{{- define "barograph.egress.healer" -}}
- to:
    - podSelector: {matchLabels: {{ include "barograph.selector" (list . "healer") | fromYaml | toJson }}}
  ports: [{port: {{ (include "barograph.services" . | fromYaml).healer.port }}}]
{{- end -}}

{{/* (dict context component) -> metadata of the component's policy */}}
{{- define "barograph.policy.head" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "barograph.name" (list .context .component) | quote }}
  namespace: {{ .context.Release.Namespace | quote }}
  labels: {{- include "barograph.labels" (list .context .component) | nindent 4 }}
  {{- include "barograph.annotations" (list .context .component) | nindent 2 }}
spec:
  podSelector:
    matchLabels: {{- include "barograph.selector" (list .context .component) | nindent 6 }}
{{- end -}}

{{/* who may scrape; nobody when there is nothing to match */}}
{{- define "barograph.ingress.metrics" -}}
{{- if or .Values.networkPolicy.monitoring .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled -}}
- ports: [{port: health}]
  {{- with .Values.networkPolicy.monitoring }}
  from: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}
