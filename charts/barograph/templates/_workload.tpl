{{/* The one workload of all services, and of gateways apart from the detector: (list context service). */}}
{{- define "barograph.workload" -}}
{{- $context := first . -}}{{- $service := last . -}}
{{- $facts := index (include "barograph.services" $context | fromYaml) $service -}}
{{- $values := index $context.Values $service -}}
{{- $name := include "barograph.name" . -}}
{{- $stateful := eq $facts.kind "StatefulSet" -}}
apiVersion: apps/v1
kind: {{ $facts.kind }}
metadata:
  name: {{ $name | quote }}
  namespace: {{ $context.Release.Namespace | quote }}
  labels: {{- include "barograph.labels" . | nindent 4 }}
  {{- include "barograph.annotations" . | nindent 2 }}
spec:
  {{- if not (or (and $context.Values.keda.enabled (hasKey $context.Values.keda $service)) (and $context.Values.hpa.enabled (hasKey $context.Values.hpa $service))) }}
  replicas: {{ $values.replicas | default 1 }}
  {{- end }}
  revisionHistoryLimit: 3
  minReadySeconds: 5
  {{- if $stateful }}
  serviceName: {{ $name | quote }}
  podManagementPolicy: Parallel
  updateStrategy: {type: RollingUpdate}
  {{- else if or $facts.rolling (gt (int $values.replicas) 1) }}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  {{- else }}
  # One alone: the next one begins when it has ended, and what is sent meanwhile waits in its queue.
  strategy: {type: Recreate}
  {{- end }}
  selector:
    matchLabels: {{- include "barograph.selector" . | nindent 6 }}
  template: {{- include "barograph.pod" . | nindent 4 }}
{{- end -}}

{{/* (list context service) -> pod template */}}
{{- define "barograph.pod" -}}
{{- $context := first . -}}{{- $service := last . -}}
{{- $facts := index (include "barograph.services" $context | fromYaml) $service -}}
{{- $values := index $context.Values $service -}}
{{- $pods := include "barograph.pods" (list $context $values.pods) | fromYaml -}}
{{- $name := include "barograph.name" . -}}
metadata:
  labels: {{- merge (include "barograph.selector" . | fromYaml) $pods.labels | toYaml | nindent 4 }}
  annotations:
    checksum/settings: {{ include "barograph.settings" . | sha256sum }}
    {{- with $pods.annotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ $name | quote }}
  automountServiceAccountToken: {{ include "barograph.usesApi" . }}
  # Kubernetes would add BAROGRAPH_CLIENT_PORT and the like, which the services refuse.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $facts.graceSeconds }}
  securityContext: {{- include "barograph.podSecurity" 10001 | nindent 4 }}
  {{- with include "barograph.pullSecrets" $context }}{{ . | trim | nindent 2 }}{{ end }}
  {{- with include "barograph.placement" $pods }}{{ . | trim | nindent 2 }}{{ end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: {{ $pods.spread }}
      labelSelector: {matchLabels: {{ include "barograph.selector" . | fromYaml | toJson }}}
  {{- if or $facts.store $pods.initContainers }}
  initContainers:
    {{- with $pods.initContainers }}{{ toYaml . | nindent 4 }}{{ end }}
    {{- if $facts.store }}
    # Waits for the database; the schema is made or found current under a lock.
    - {{ include "barograph.schema" (list $context $service 600) | indent 6 | trim }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ $service | quote }}
      image: {{ include "barograph.image" (list $context ($facts.program | default $service)) | quote }}
      imagePullPolicy: {{ $context.Values.image.pullPolicy }}
      securityContext: {{- include "barograph.containerSecurity" $context | nindent 8 }}
      envFrom:
        - configMapRef: {name: {{ $name | quote }}}
        {{- with $pods.extraEnvFrom }}{{ toYaml . | nindent 8 }}{{ end }}
      env:
        {{- include "barograph.secrets" . | nindent 8 }}
        {{- include "barograph.trust.env" $context | nindent 8 }}
        {{- with $pods.extraEnv }}{{ toYaml . | nindent 8 }}{{ end }}
      ports:
        - {name: health, containerPort: 8080}
        {{- with $facts.port }}
        - {name: http, containerPort: {{ . }}}
        {{- end }}
      {{- include "barograph.probes" (dict "port" "health") | nindent 6 }}
      {{- if $facts.port }}
      # Whoever still has this address gets an answer until it is known everywhere that we go.
      lifecycle: {preStop: {sleep: {seconds: 5}}}
      {{- end }}
      resources: {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - {name: state, mountPath: /var/lib/barograph}
        - {name: tmp, mountPath: /tmp}
        {{- include "barograph.trust.mount" $context | nindent 8 }}
        {{- with $pods.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
    {{- with $pods.sidecars }}{{ toYaml . | nindent 4 }}{{ end }}
  volumes:
    - {name: state, emptyDir: {}}
    - {name: tmp, emptyDir: {}}
    {{- include "barograph.trust.volume" $context | nindent 4 }}
    {{- with $pods.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end -}}

{{/* (list context service seconds) -> container that brings the service's database up to date */}}
{{- define "barograph.schema" -}}
{{- $context := index . 0 -}}{{- $service := index . 1 -}}
name: schema-{{ $service }}
image: {{ include "barograph.image" (list $context $service) | quote }}
imagePullPolicy: {{ $context.Values.image.pullPolicy }}
command: [python3, -m, shared.store, --wait, {{ index . 2 | toJson | quote }}]
securityContext: {{- include "barograph.containerSecurity" $context | nindent 2 }}
env:
  {{- include "barograph.secretEnv" (list "BAROGRAPH_STORE_URL" (include "barograph.secret.database" $context) $service) | nindent 2 }}
  {{- include "barograph.trust.env" $context | nindent 2 }}
resources: {{- toYaml (index $context.Values $service).resources | nindent 2 }}
{{- with include "barograph.trust.mount" $context }}
volumeMounts: {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* (list context service) -> whether its pods get a token for the API server */}}
{{- define "barograph.usesApi" -}}
{{- $rights := (first .).Values.healer.remediations.kubernetes -}}
{{- $heals := and (eq (last .) "healer") (or $rights.deletePods $rights.evictPods $rights.rolloutRestart $rights.scale $rights.expandClaims $rights.cordonNodes $rights.drainNodes) -}}
{{- or (eq (last .) "task") $heals | ternary "true" "false" -}}
{{- end -}}

{{/* (list context service max) -> the most replicas of it that find work */}}
{{- define "barograph.mostReplicas" -}}
{{- $context := index . 0 -}}
{{- $judges := and $context.Values.gateway.enabled (eq (index . 1) "detector") -}}
{{- ternary (min (index . 2) (max $context.Values.metricPartitions $context.Values.detector.replicas)) (index . 2) $judges -}}
{{- end -}}

{{/* service -> how fast its autoscaler may move, where each change moves streams between replicas */}}
{{- define "barograph.scalingBehavior" -}}
{{- if eq . "detector" -}}
scaleUp:
  policies: [{type: Percent, value: 100, periodSeconds: 60}]
# Nobody is late while there are enough: that alone is no reason to have fewer.
scaleDown:
  stabilizationWindowSeconds: 600
  policies: [{type: Pods, value: 1, periodSeconds: 120}]
{{- end -}}
{{- end -}}
