{{/* Parts of pod templates. Every container of the chart gets its security context from here. */}}

{{/* uid -> pod security context */}}
{{- define "barograph.podSecurity" -}}
runAsNonRoot: {{ ne (int .) 0 }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "barograph.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "barograph.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* the effective `pods` -> where pods go */}}
{{- define "barograph.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* (list context overrides) -> YAML of the effective `pods` */}}
{{- define "barograph.pods" -}}
{{- mergeOverwrite (deepCopy (first .).Values.pods) (last . | default dict) | toYaml -}}
{{- end -}}

{{/* (dict port host) -> probes of a service */}}
{{- define "barograph.probes" -}}
{{- $get := dict "port" .port -}}
{{- with .host }}{{ $_ := set $get "host" . }}{{ end -}}
# Importing TensorFlow from a cold disk may take minutes; being connected is for readiness to say.
startupProbe:
  httpGet: {{ merge (dict "path" "/livez") $get | toJson }}
  periodSeconds: 2
  failureThreshold: 150
livenessProbe:
  httpGet: {{ merge (dict "path" "/livez") $get | toJson }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {{ merge (dict "path" "/readyz") $get | toJson }}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{/* (list variable secret key) -> an environment variable from a Secret */}}
{{- define "barograph.secretEnv" -}}
- name: {{ index . 0 | quote }}
  valueFrom: {secretKeyRef: {name: {{ index . 1 | quote }}, key: {{ index . 2 | quote }}}}
{{- end -}}
